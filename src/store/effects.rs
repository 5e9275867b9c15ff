//! Reads what a migration does to tables that are in use.
//!
//! In: its SQL, in the subset that migrations are written in. Out: one [`Effect`] a statement, and
//! whether a program of the schema before may go on beside them. Never: a statement taken for
//! harmless that is not known to be.

use serde::Serialize;

/// What one statement does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "does")]
pub enum Effect {
    CreatesTable {
        table: String,
    },
    /// `demands` when rows that an older program writes would not fit.
    AddsColumn {
        table: String,
        column: String,
        demands: bool,
    },
    BuildsIndex {
        table: String,
        index: String,
        unique: bool,
    },
    Fills {
        table: String,
    },
    /// Says from which schema on programs may still run.
    RaisesFloor {
        to: i64,
    },
    /// Anything else.
    Other {
        statement: String,
    },
}

/// Of a statement that is not understood, so much is shown.
const SHOWN_WORDS: usize = 8;

/// The effects of a migration, in its order.
pub fn effects(sql: &str) -> Vec<Effect> {
    statements(sql).iter().map(|statement| effect(statement)).collect()
}

/// Whether a program of the schema before reads and writes as well afterwards.
pub fn expands(effects: &[Effect]) -> bool {
    let created: Vec<&str> = created(effects).collect();
    effects.iter().all(|effect| match effect {
        Effect::CreatesTable { .. } | Effect::RaisesFloor { .. } => true,
        Effect::AddsColumn { table, demands, .. } => !demands || created.contains(&table.as_str()),
        Effect::BuildsIndex { table, unique, .. } => !unique || created.contains(&table.as_str()),
        Effect::Fills { table } => created.contains(&table.as_str()),
        Effect::Other { .. } => false,
    })
}

/// The tables that a migration makes.
pub fn created(effects: &[Effect]) -> impl Iterator<Item = &str> {
    effects.iter().filter_map(|effect| match effect {
        Effect::CreatesTable { table } => Some(table.as_str()),
        Effect::AddsColumn { .. }
        | Effect::BuildsIndex { .. }
        | Effect::Fills { .. }
        | Effect::RaisesFloor { .. }
        | Effect::Other { .. } => None,
    })
}

/// The schema that a migration declares the oldest whose program may still run.
pub fn floor(effects: &[Effect]) -> Option<i64> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::RaisesFloor { to } => Some(*to),
        Effect::CreatesTable { .. }
        | Effect::AddsColumn { .. }
        | Effect::BuildsIndex { .. }
        | Effect::Fills { .. }
        | Effect::Other { .. } => None,
    })
}

/// The statements as words, without comments. Texts in quotes are one word each.
fn statements(sql: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut letters = sql.chars().peekable();
    let end = |word: &mut String, words: &mut Vec<String>| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
    };
    while let Some(letter) = letters.next() {
        match letter {
            '-' if letters.peek() == Some(&'-') => {
                end(&mut word, &mut words);
                while letters.next_if(|next| *next != '\n').is_some() {}
            }
            '/' if letters.peek() == Some(&'*') => {
                end(&mut word, &mut words);
                let mut before = ' ';
                for next in letters.by_ref() {
                    if before == '*' && next == '/' {
                        break;
                    }
                    before = next;
                }
            }
            '\'' => {
                word.push(letter);
                for next in letters.by_ref() {
                    word.push(next);
                    if next == '\'' {
                        break;
                    }
                }
            }
            ';' => {
                end(&mut word, &mut words);
                all.extend((!words.is_empty()).then(|| std::mem::take(&mut words)));
            }
            '(' | ')' | ',' | '=' => {
                end(&mut word, &mut words);
                words.push(letter.to_string());
            }
            letter if letter.is_whitespace() => end(&mut word, &mut words),
            letter => word.push(letter.to_ascii_lowercase()),
        }
    }
    end(&mut word, &mut words);
    all.extend((!words.is_empty()).then_some(words));
    all
}

fn effect(words: &[String]) -> Effect {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let named = |name: &str| name.trim_matches('"').to_owned();
    match words.as_slice() {
        ["create", "table", table, "(", ..] => Effect::CreatesTable { table: named(table) },
        ["create", "index", index, "on", table, "(", ..] => {
            Effect::BuildsIndex { table: named(table), index: named(index), unique: false }
        }
        ["create", "unique", "index", index, "on", table, "(", ..] => {
            Effect::BuildsIndex { table: named(table), index: named(index), unique: true }
        }
        ["alter", "table", table, "add", "column", column, definition @ ..]
            if !definition.contains(&",") =>
        {
            let has = |word: &str| definition.contains(&word);
            let needs_value = has("not") && has("null") && !has("default");
            let demands = needs_value
                || ["unique", "primary", "references", "check"].iter().any(|word| has(word));
            Effect::AddsColumn { table: named(table), column: named(column), demands }
        }
        ["insert", "into", table, ..] => Effect::Fills { table: named(table) },
        ["update", "schema_floor", "set", "version", "=", to] => match to.parse() {
            Ok(to) => Effect::RaisesFloor { to },
            Err(_) => other(&words),
        },
        _ => other(&words),
    }
}

fn other(words: &[&str]) -> Effect {
    let shown = words.iter().take(SHOWN_WORDS).copied().collect::<Vec<_>>().join(" ");
    let more = if words.len() > SHOWN_WORDS { " …" } else { "" };
    Effect::Other { statement: format!("{shown}{more}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> bool {
        expands(&effects(sql))
    }

    #[test]
    fn what_adds_expands() {
        assert_eq!(
            effects(
                "-- a table; and ' a quote\ncreate table t (\n a text, b text default ';');\n\
                 insert into t (a) values ('x; drop table u');\n/* ; */ create unique index i on t \
                 (a) where a = 'b;';\nalter table u add column c bigint not null default 0;\n\
                 alter table u add column d text;\ncreate index j on u (c);"
            ),
            [
                Effect::CreatesTable { table: "t".into() },
                Effect::Fills { table: "t".into() },
                Effect::BuildsIndex { table: "t".into(), index: "i".into(), unique: true },
                Effect::AddsColumn { table: "u".into(), column: "c".into(), demands: false },
                Effect::AddsColumn { table: "u".into(), column: "d".into(), demands: false },
                Effect::BuildsIndex { table: "u".into(), index: "j".into(), unique: false },
            ]
        );
        assert!(read("create table t (a text); insert into t (a) values ('1');"));
        assert!(read("alter table u add column c text; create index j on u (c)"));
    }

    #[test]
    fn what_takes_away_changes_or_demands_does_not() {
        for sql in [
            "drop table t;",
            "alter table t drop column c;",
            "alter table t rename column c to d;",
            "alter table t rename to u;",
            "alter table t add column c bigint not null;",
            "alter table t add column c text unique;",
            "alter table t add column c text references u (id);",
            "alter table t add column c text, add column d text;",
            "create unique index i on t (c);",
            "insert into t (a) values ('1');",
            "update t set a = 'b';",
            "delete from t;",
            "create trigger g before insert on t begin select 1; end;",
            "alter table t alter column c type text;",
            "create table if not exists t (a text);",
            "update schema_floor set version = x;",
        ] {
            assert!(!read(sql), "{sql}");
        }
    }

    #[test]
    fn a_migration_that_contracts_declares_the_floor() {
        let both = effects("alter table t drop column c; update schema_floor set version = 9;");
        assert_eq!((expands(&both), floor(&both)), (false, Some(9)));
        assert_eq!(floor(&effects("create table t (a text);")), None);
    }
}
