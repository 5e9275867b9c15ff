//! What one request may cost is bounded: long lists come in parts, and nothing between them is lost.

use super::site::Site;
use serde_json::Value;
use watchkeeper::model::timeline::Entry;

fn numbers(answer: &Value) -> Vec<i64> {
    let entries = answer["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["seq"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_long_timeline_comes_in_parts() {
    let site = Site::start().await;
    let id = site.incident("DiskFull").await;
    // Two were there; at most 500 are in one answer.
    let more = (0..510).map(|n| Entry::Acknowledged { by: format!("kim {n}") }).collect();
    site.append(id, more).await;
    let path = format!("/api/v1/incidents/{id}/timeline");
    let get = async |query: &str| site.get(&format!("{path}{query}"), &site.tokens.viewer).await;

    let first = get("").await.json();
    assert_eq!(numbers(&first), (1..=500).collect::<Vec<i64>>());
    assert_eq!(first["next_after"], 500);
    let last = get("?after=500").await.json();
    assert_eq!(numbers(&last), (501..=512).collect::<Vec<i64>>());
    assert_eq!(last["next_after"], Value::Null);
    let some = get("?after=2&limit=3").await.json();
    assert_eq!((numbers(&some), &some["next_after"]), (vec![3, 4, 5], &5.into()));
    let rest = get("?after=509&limit=3").await.json();
    assert_eq!((numbers(&rest), &rest["next_after"]), (vec![510, 511, 512], &Value::Null));
    assert_eq!(numbers(&get("?after=600").await.json()), Vec::<i64>::new());
    for wrong in ["?after=-1", "?after=x", "?limit=501", "?limit=0"] {
        assert_eq!(get(wrong).await.error(), (400, "invalid".into()), "{wrong}");
    }
}
