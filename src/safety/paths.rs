//! Which paths may be named.

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("a path must be absolute")]
    Relative,
    #[error("a path holds neither `.` nor `..`; write where it leads")]
    Climbing,
    #[error("a path holds printable ASCII characters only")]
    Character,
    #[error("a path has at most {PATH_MAX} characters")]
    TooLong,
}

const PATH_MAX: usize = 4096;

pub fn normalise(raw: &str) -> Result<String, Denied> {
    if raw.len() >= PATH_MAX {
        return Err(Denied::TooLong);
    }
    if !raw.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return Err(Denied::Character);
    }
    if !raw.starts_with('/') {
        return Err(Denied::Relative);
    }
    let mut path = String::with_capacity(raw.len());
    for part in raw.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." {
            return Err(Denied::Climbing);
        }
        path.push('/');
        path.push_str(part);
    }
    if path.is_empty() {
        path.push('/');
    }
    Ok(path)
}

pub fn is_within(path: &str, roots: &[impl AsRef<str>]) -> bool {
    roots.iter().any(|root| {
        let root = root.as_ref().trim_end_matches('/');
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}
