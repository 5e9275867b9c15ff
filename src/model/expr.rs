//! Conditions in CEL, bounded so that no condition can stall or abort the process.
//!
//! In: source text and JSON variables. Out: a boolean, or an error that the caller must treat as
//! the strict answer. JSON whole numbers become CEL ints, so that arithmetic works on them.
//! Never: an unbounded expression. Length, depth and nested loops are limited at load, because the
//! engine limits none of them at run time.

use cel::common::ast::{EntryExpr, Expr as Ast, IdedExpr};
use cel::{Context, Env, Program, Value as Cel};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

const SOURCE_CHARS_MAX: usize = 512;
/// Deep enough for any condition that a person can review; far from the end of a 2 MiB stack.
const DEPTH_MAX: usize = 40;
/// Parsing recurses before the depth can be measured, so it gets a stack of its own.
const PARSE_STACK_BYTES: usize = 64 * 1024 * 1024;

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Expr {
    source: String,
    program: Arc<Program>,
    paths: BTreeSet<String>,
}

impl Expr {
    /// Compiles `source`, which may read only the variables in `roots`.
    ///
    /// # Errors
    /// What is wrong with it, for the person who wrote it.
    pub fn compile(source: &str, roots: &[&str]) -> Result<Self, String> {
        if source.chars().count() > SOURCE_CHARS_MAX {
            return Err(format!("the condition is longer than {SOURCE_CHARS_MAX} characters"));
        }
        let program = parse(source.to_owned())?;
        let mut survey = Survey::default();
        survey.visit(program.expression())?;
        let references = program.references();
        for variable in references.variables() {
            let known = roots.contains(&variable) || survey.bound.contains(variable);
            if !known {
                return Err(format!("unknown name '{variable}'; a condition may read {roots:?}"));
            }
        }
        Ok(Self { source: source.to_owned(), program: Arc::new(program), paths: survey.paths })
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Every dotted path that is read, e.g. `args.replicas`.
    pub fn paths(&self) -> &BTreeSet<String> {
        &self.paths
    }

    /// Whether the condition reads this root, e.g. `state`.
    pub fn reads(&self, root: &str) -> bool {
        self.paths.iter().any(|path| path.split('.').next() == Some(root))
    }

    /// Evaluates to true or false.
    ///
    /// # Errors
    /// Any failure, and any answer that is not a boolean.
    pub fn holds(&self, scope: &Scope) -> Result<bool, String> {
        match self.program.execute(&scope.0) {
            Ok(Cel::Bool(answer)) => Ok(answer),
            Ok(other) => Err(format!("gives {other:?}, not true or false")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The functions of the language. Building them takes far longer than a condition, so all share
/// one set.
static FUNCTIONS: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Variables for an evaluation.
pub struct Scope(Context<'static, 'static>);

impl Scope {
    /// Binds JSON values to names.
    pub fn new<'a>(variables: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut context = Context::with_env(Arc::clone(&FUNCTIONS));
        for (name, value) in variables {
            context.add_variable_from_value(name.to_owned(), to_cel(value));
        }
        Self(context)
    }
}

fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(b) => Cel::Bool(*b),
        Value::Number(n) => {
            n.as_i64().map_or_else(|| Cel::Float(n.as_f64().unwrap_or(f64::NAN)), Cel::Int)
        }
        Value::String(s) => Cel::from(s.as_str()),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(map) => {
            let entries: HashMap<String, Cel> =
                map.iter().map(|(key, item)| (key.clone(), to_cel(item))).collect();
            Cel::from(entries)
        }
    }
}

fn parse(source: String) -> Result<Program, String> {
    std::thread::Builder::new()
        .stack_size(PARSE_STACK_BYTES)
        .spawn(move || Program::compile(&source).map_err(|error| error.to_string()))
        .map_err(|error| format!("cannot start a thread to parse the condition: {error}"))?
        .join()
        .map_err(|_| "the condition cannot be parsed".to_owned())?
}

#[derive(Default)]
struct Survey {
    paths: BTreeSet<String>,
    bound: BTreeSet<String>,
    depth: usize,
    loops: usize,
}

impl Survey {
    fn visit(&mut self, node: &IdedExpr) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("the condition is nested deeper than {DEPTH_MAX} levels"));
        }
        match &node.expr {
            Ast::Ident(name) => {
                self.paths.insert(name.clone());
            }
            Ast::Select(select) => match dotted(node) {
                Some(path) => {
                    self.paths.insert(path);
                }
                None => self.visit(&select.operand)?,
            },
            Ast::Call(call) => {
                for part in call.target.as_deref().into_iter().chain(&call.args) {
                    self.visit(part)?;
                }
            }
            Ast::List(list) => {
                for element in &list.elements {
                    self.visit(element)?;
                }
            }
            Ast::Map(map) => self.visit_entries(map.entries.iter().map(|e| &e.expr))?,
            Ast::Struct(shape) => self.visit_entries(shape.entries.iter().map(|e| &e.expr))?,
            Ast::Comprehension(inner) => {
                self.loops += 1;
                if self.loops > 1 {
                    return Err(
                        "a condition may hold one all(), exists(), map() or filter()".into()
                    );
                }
                self.bound.extend([inner.iter_var.clone(), inner.accu_var.clone()]);
                self.bound.extend(inner.iter_var2.clone());
                for part in [
                    &inner.iter_range,
                    &inner.accu_init,
                    &inner.loop_cond,
                    &inner.loop_step,
                    &inner.result,
                ] {
                    self.visit(part)?;
                }
            }
            Ast::Literal(_) | Ast::Unspecified => {}
        }
        self.depth -= 1;
        Ok(())
    }

    fn visit_entries<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a EntryExpr>,
    ) -> Result<(), String> {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => self.visit(&field.value)?,
                EntryExpr::MapEntry(item) => {
                    self.visit(&item.key)?;
                    self.visit(&item.value)?;
                }
            }
        }
        Ok(())
    }
}

/// `a.b.c` as text, for plain field selections only; a presence test reads the same path.
fn dotted(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Ast::Ident(name) => Some(name.clone()),
        Ast::Select(select) => Some(format!("{}.{}", dotted(&select.operand)?, select.field)),
        Ast::Call(_)
        | Ast::List(_)
        | Ast::Map(_)
        | Ast::Struct(_)
        | Ast::Comprehension(_)
        | Ast::Literal(_)
        | Ast::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(source: &str) -> Result<bool, String> {
        let args = json!({"replicas": 6, "paths": ["/var/log", "/tmp"], "days": 7.5});
        let state = json!({"replicas": 4});
        Expr::compile(source, &["args", "state"])?
            .holds(&Scope::new([("args", &args), ("state", &state)]))
    }

    #[test]
    fn whole_numbers_can_be_subtracted() {
        assert_eq!(holds("args.replicas - state.replicas <= 2"), Ok(true));
        assert_eq!(holds("args.replicas + 1 > 7 || args.days > 8.0"), Ok(false));
        assert_eq!(holds("args.paths.all(p, p.startsWith('/var'))"), Ok(false));
        assert_eq!(holds("has(args.nothing)"), Ok(false));
    }

    #[test]
    fn failures_are_errors_and_never_an_answer() {
        assert!(holds("args.missing == 1").is_err());
        assert!(holds("args.replicas").unwrap_err().contains("not true or false"));
        assert!(holds("args.replicas == ").is_err());
        assert!(holds("labels.x == 'y'").unwrap_err().contains("unknown name 'labels'"));
    }

    #[test]
    fn hostile_conditions_are_refused_at_load() {
        let chain = vec!["1"; 120].join("+") + " == 120";
        assert!(holds(&chain).unwrap_err().contains("nested deeper"));
        assert!(holds(&"a".repeat(600)).unwrap_err().contains("longer than"));
        let nested = "args.paths.all(a, args.paths.all(b, a == b))";
        assert!(holds(nested).unwrap_err().contains("one all()"));
    }

    #[test]
    fn the_paths_that_are_read_are_known() {
        let expr = Expr::compile("args.a.b == 1 && size(args.c) > 0", &["args"]).unwrap();
        let expected: BTreeSet<String> = ["args.a.b".into(), "args.c".into()].into();
        assert_eq!(expr.paths(), &expected);
        assert!(expr.reads("args") && !expr.reads("state"));
    }
}
