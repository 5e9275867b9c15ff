//! Slow, silent, large and many clients: they are cut, and honest senders do not notice.

use super::site::{Site, delivery, send};
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Far longer than any deadline of these servers, for machines under load.
const LONG: Duration = Duration::from_secs(60);

async fn impatient() -> Site {
    Site::with(|settings| {
        settings.http.header_timeout_ms = 300;
        settings.http.body_timeout_ms = 300;
        settings.http.idle_timeout_ms = 1_000;
    })
    .await
}

async fn connect(site: &Site) -> TcpStream {
    let address: SocketAddr = site.base.strip_prefix("http://").unwrap().parse().unwrap();
    TcpStream::connect(address).await.unwrap()
}

/// What comes until the server closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut bytes)).await;
    // A reset is a way to close, too.
    let _ = read.expect("the server holds on to the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn slow_headers_are_cut_while_honest_webhooks_are_served() {
    let site = impatient().await;
    let mut slow = Vec::new();
    for n in 0..100 {
        let mut stream = connect(&site).await;
        if n % 2 == 0 {
            stream.write_all(b"POST /webhook/alert HTTP/1.1\r\nhost: x\r\nx-a: ").await.unwrap();
        }
        slow.push(stream);
    }
    let honest =
        (0..200).map(|_| site.post("/webhook/alert", &site.tokens.hook, delivery(&["DiskFull"])));
    assert!(join_all(honest).await.iter().all(|answer| answer.status == 200));
    for said in join_all(slow.into_iter().map(rest)).await {
        assert_eq!(said, "");
    }
}

#[tokio::test]
async fn a_header_that_trickles_is_cut() {
    let site = impatient().await;
    let (mut read, mut write) = connect(&site).await.into_split();
    let trickle = async {
        while write.write_all(b"GET").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut bytes = Vec::new();
    let closed = async { read.read_to_end(&mut bytes).await };
    let ended = tokio::time::timeout(LONG, async {
        tokio::select! { () = trickle => (), _ = closed => () }
    });
    ended.await.expect("the server holds on to the connection");
}

#[tokio::test]
async fn a_slow_body_is_answered_503_so_that_it_is_sent_again() {
    let site = impatient().await;
    let mut stream = connect(&site).await;
    let head = format!(
        "POST /webhook/alert HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{\"version\"",
        site.tokens.hook
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = rest(stream).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    assert!(said.contains("retry-after: 5"), "{said}");
    assert_eq!(site.store.delivery_backlog().await.unwrap().waiting, 0);

    let mut stream = connect(&site).await;
    let head = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nname=";
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = rest(stream).await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
}

/// Each announces the largest body there may be, together far more than the server has room for.
#[tokio::test]
async fn slow_large_bodies_keep_no_honest_webhook_out() {
    let site = Site::start().await;
    let mut slow = Vec::new();
    for _ in 0..60 {
        let mut stream = connect(&site).await;
        let head = format!(
            "POST /webhook/alert HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-length: 8388608\r\nexpect: 100-continue\r\n\r\n",
            site.tokens.hook
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut said = [0; 12];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 100", "the handler waits for the body");
        stream.write_all(b"{\"version\"").await.unwrap();
        slow.push(stream);
    }
    let honest =
        (0..200).map(|_| site.post("/webhook/alert", &site.tokens.hook, delivery(&["DiskFull"])));
    assert!(join_all(honest).await.iter().all(|answer| answer.status == 200));
    drop(slow);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let site = impatient().await;
    let mut stream = connect(&site).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let said = rest(stream).await;
    assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
    let mut stream = connect(&site).await;
    // The second header on a connection is not given more time than the first.
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /hea").await.unwrap();
    assert_eq!(rest(stream).await.matches("HTTP/1.1 200 OK").count(), 1);
}

#[tokio::test]
async fn a_full_server_says_503_and_recovers() {
    let site = Site::with(|settings| settings.http.connections_max = 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&site).await;
        // Answered, so it is counted.
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        held.push(stream);
    }
    let said = rest(connect(&site).await).await;
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("retry-after"), "{said}");
    drop(held);
    let mut tries = 0;
    while site.request(Method::GET, "/healthz").send().await.map_or(0, |a| a.status().as_u16())
        != 200
    {
        tries += 1;
        assert!(tries < 10_000, "the places are not given back");
    }
}

#[tokio::test]
async fn two_hundred_keep_alive_senders_on_one_address_are_served() {
    let site = Site::start().await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(connect(&site).await);
    }
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    for _ in 0..3 {
        for stream in &mut streams {
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut said = String::new();
            while !said.ends_with("ok\n") {
                let mut part = [0; 1024];
                let read = stream.read(&mut part).await.unwrap();
                assert_ne!(read, 0, "{said}");
                said.push_str(&String::from_utf8_lossy(&part[..read]));
            }
            assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_webhook_of_the_largest_size_is_taken_and_a_larger_one_kept_in_part() {
    let bytes_max = 256 * 1024;
    let site = Site::with(|settings| settings.http.webhook_body_bytes_max = bytes_max).await;
    let mut body = delivery(&["DiskFull"]);
    let plain = body.to_string().len() as u64;
    let fill = usize::try_from(bytes_max - plain).unwrap();
    body["externalURL"] = json!(format!("http://alertmanager{}", "x".repeat(fill)));
    assert_eq!(body.to_string().len() as u64, bytes_max);
    let answer = site.post("/webhook/alert", &site.tokens.hook, body.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);

    body["receiver"] = json!("watchkeeper1");
    let answer = site.post("/webhook/alert", &site.tokens.hook, body.clone()).await;
    assert_eq!(answer.error(), (413, "too_large".into()));
    let parts: Vec<Result<String, std::io::Error>> = body
        .to_string()
        .as_bytes()
        .chunks(10_000)
        .map(|part| Ok(String::from_utf8(part.to_vec()).unwrap()))
        .collect();
    let chunked = site
        .request(Method::POST, "/webhook/alert")
        .bearer_auth(&site.tokens.hook)
        .body(reqwest::Body::wrap_stream(futures::stream::iter(parts)));
    assert_eq!(send(chunked).await.error(), (413, "too_large".into()));
    let kept = site.store.malformed_deliveries(10).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|(_, _, body)| body.len() <= 64 * 1024 && body.starts_with('{')));
}

#[tokio::test]
async fn a_stopping_server_finishes_what_it_began_and_lets_go_of_the_rest() {
    let site = Site::start().await;
    let mut idle = connect(&site).await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    idle.read_exact(&mut start).await.unwrap();
    let silent = connect(&site).await;
    let mut busy = connect(&site).await;
    let body = delivery(&["DiskFull"]).to_string();
    let head = format!(
        "POST /webhook/alert HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        site.tokens.hook,
        body.len()
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    let mut said = [0; 12];
    busy.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 100", "the handler waits for the body");
    site.tasks.stopping().cancel();
    rest(idle).await;
    rest(silent).await;
    busy.write_all(body.as_bytes()).await.unwrap();
    let said = rest(busy).await;
    // The store stops as well, so the answer is one of the two that lose nothing.
    assert!(said.contains("HTTP/1.1 200 ") || said.contains("HTTP/1.1 503 "), "{said}");
    assert_eq!(site.tasks.shut_down(LONG).await, 0);
}
