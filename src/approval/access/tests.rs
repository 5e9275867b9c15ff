use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$\
    qLml5cbqFAO6YxVHhrSBHP0UWdxrIxkNcM8aMX3blzU";

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("access-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("access.yaml")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn user(name: &str) -> User {
    User { name: name.into(), role: Role::Sre, password_hash: HASH.into() }
}

fn token(name: &str) -> Token {
    let hash = secrets::new_token().hash;
    Token { name: name.into(), kind: TokenKind::Webhook, hash, role: None, source: None }
}

fn said(text: &str) -> Vec<String> {
    let Err(problems) = parse("access.yaml", text) else { return Vec::new() };
    problems.0.iter().map(ToString::to_string).collect()
}

#[test]
fn entries_that_were_added_are_read_again() {
    let folder = Folder::new();
    let (kim, prometheus) = (user("kim"), token("prometheus"));
    let api = Token { kind: TokenKind::Api, role: Some(Role::Viewer), ..token("board") };
    add_user(&folder.file(), kim.clone()).unwrap();
    add_token(&folder.file(), prometheus.clone()).unwrap();
    add_token(&folder.file(), api.clone()).unwrap();
    let Ok(Some(read)) = load(&folder.file()) else { panic!("unreadable") };
    assert!(read == Access { users: vec![kim], tokens: vec![prometheus, api] });
    let mode = std::fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "no file is left beside it");
}

#[test]
fn a_taken_name_is_refused_and_the_file_stays() {
    let folder = Folder::new();
    add_user(&folder.file(), user("kim")).unwrap();
    let before = std::fs::read(folder.file()).unwrap();
    let refused = add_user(&folder.file(), user("kim")).unwrap_err();
    assert_eq!(refused.to_string(), "there is a user kim already");
    assert_eq!(std::fs::read(folder.file()).unwrap(), before);
}

#[test]
fn an_entry_that_the_server_could_not_read_is_not_written() {
    let folder = Folder::new();
    let refused = add_user(&folder.file(), user("kim lee")).unwrap_err();
    assert!(matches!(refused, Error::Unfit(_)), "{refused}");
    assert!(!folder.file().exists());
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let refused = add_user(Path::new("/nonexistent/access.yaml"), user("kim")).unwrap_err();
    assert!(refused.to_string().starts_with("cannot write /nonexistent/access.yaml"));
}

#[test]
fn an_absent_file_means_nobody() {
    let folder = Folder::new();
    assert!(matches!(load(&folder.file()), Ok(None)));
}

#[test]
fn everything_wrong_is_said_at_once_with_its_place() {
    let hash = "0".repeat(64);
    let text = format!(
        "users:\n\
         - {{ name: kim, role: boss, password_hash: \"{HASH}\" }}\n\
         - {{ name: lee, role: sre, password_hash: hunter2 }}\n\
         - {{ name: lee, role: sre, password_hash: \"{HASH}\" }}\n\
         tokens:\n\
         - {{ name: a, kind: api, hash: \"{hash}\" }}\n\
         - {{ name: b, kind: webhook, hash: \"{hash}\", role: sre }}\n\
         - {{ name: \"c:d\", kind: webhook, hash: abc }}\n"
    );
    let said = said(&text);
    let expected = [
        ("access.yaml:2:22: users[0].role: ", "boss"),
        ("access.yaml:3:42: users[1].password_hash: is not a hash", "watchkeeper user add"),
        ("access.yaml:4:11: users[2].name: there are two entries for the user lee", "remove"),
        ("access.yaml:6:3: tokens[0].role: an API token needs a role", "viewer"),
        ("access.yaml:7:", "is the same token as a"),
        ("access.yaml:7:", "a webhook token has no role"),
        ("access.yaml:8:11: tokens[2].name: is not a name", "letters"),
        ("access.yaml:8:", "tokens[2].hash: is not a SHA-256"),
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, (start, part)) in said.iter().zip(expected) {
        assert!(said.starts_with(start) && said.contains(part), "{said}\n{start}");
        assert!(!said.contains("hunter2"));
    }
}
