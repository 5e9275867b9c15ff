//! The table of read-only programs: what each may be given.
//!
//! In: the embedded files of `programs/`. Out: a tree of forms by program name. Never: I/O, a
//! program, flag or value that no file names. A mistake in a file fails the first test that judges.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::notation::{self, Names, Slot, Takes};

const FILES: &[(&str, &str)] = &[
    ("processes.yaml", include_str!("programs/processes.yaml")),
    ("files.yaml", include_str!("programs/files.yaml")),
    ("network.yaml", include_str!("programs/network.yaml")),
    ("systemd.yaml", include_str!("programs/systemd.yaml")),
    ("hardware.yaml", include_str!("programs/hardware.yaml")),
    ("services.yaml", include_str!("programs/services.yaml")),
    ("host.yaml", include_str!("programs/host.yaml")),
    ("content.yaml", include_str!("programs/content.yaml")),
    ("runtimes.yaml", include_str!("programs/runtimes.yaml")),
];

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the files are part of the program and tests load them")]
    Table::load(FILES).expect("the embedded command table is well-formed")
});

/// How a program reads its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// `-abc`, `-n5`, `-n 5`, `--long=5`, `--long 5`, `--`.
    Getopt,
    /// The same, and `-n=5`.
    Go,
    /// Whole words only: `-name '*.log'`, `+short`; no clusters and no `--`.
    Words,
    /// As getopt, and a word without a dash is a cluster of letters too: `ps aux`.
    Bsd,
}

/// Whether what follows a sub-command may hold the flags of the level above too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Inherit {
    Flags,
    Nothing,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    #[serde(default)]
    lists: BTreeMap<String, String>,
    programs: BTreeMap<String, FormSpec>,
    #[serde(default)]
    instead: BTreeMap<String, InsteadSpec>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FormSpec {
    /// Other names of the same program.
    also: Vec<String>,
    /// The nearest form to offer.
    r#try: Option<String>,
    style: Option<Style>,
    network: Option<String>,
    /// Names are looked up, and nothing else is sent.
    resolves: Option<String>,
    flags: String,
    args: Option<String>,
    /// Flags that must be there; alternatives separated by blanks.
    require: Vec<String>,
    /// Words the judge puts in front.
    add: Vec<String>,
    /// Flags that people try, and what they would do.
    refuse: BTreeMap<String, String>,
    inherit: Option<Inherit>,
    sub: BTreeMap<String, FormSpec>,
    forms: Vec<FormSpec>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct InsteadSpec {
    why: String,
    r#try: Option<String>,
}

/// One way to call a program or one of its sub-commands.
#[derive(Debug, Clone)]
pub struct Form {
    pub nearest: Option<String>,
    pub style: Style,
    pub network: bool,
    pub resolves: bool,
    pub flags: BTreeMap<String, Takes>,
    pub args: Option<Vec<Vec<Slot>>>,
    pub require: Vec<Vec<String>>,
    pub add: Vec<String>,
    pub refuse: BTreeMap<String, String>,
    pub subs: BTreeMap<String, Form>,
    pub forms: Vec<Form>,
}

/// Why a well-known program is not in the table, and what serves in its place.
#[derive(Debug, Clone)]
pub struct Instead {
    pub why: String,
    pub nearest: Option<String>,
}

/// All programs by name.
#[derive(Debug, Clone)]
pub struct Table {
    programs: BTreeMap<String, Form>,
    instead: BTreeMap<String, Instead>,
}

/// Returns the embedded table.
pub fn builtin() -> &'static Table {
    &TABLE
}

impl Table {
    pub fn program(&self, name: &str) -> Option<(&str, &Form)> {
        self.programs.get_key_value(name).map(|(name, form)| (name.as_str(), form))
    }

    pub fn programs(&self) -> impl Iterator<Item = (&str, &Form)> {
        self.programs.iter().map(|(name, form)| (name.as_str(), form))
    }

    pub fn instead(&self, name: &str) -> Option<&Instead> {
        self.instead.get(name)
    }

    /// Returns every form that is offered in place of a program outside the table.
    #[cfg(test)]
    pub fn instead_forms(&self) -> impl Iterator<Item = &str> {
        self.instead.values().filter_map(|instead| instead.nearest.as_deref())
    }

    /// Returns a table of one program, changed, to see whether a test notices.
    #[cfg(test)]
    pub fn changed(&self, name: &str, change: impl FnOnce(&mut Form)) -> Table {
        let mut form = self.programs[name].clone();
        change(&mut form);
        Table { programs: [(name.to_owned(), form)].into(), instead: BTreeMap::new() }
    }

    fn load(files: &[(&str, &str)]) -> Result<Table, String> {
        let mut table = Table { programs: BTreeMap::new(), instead: BTreeMap::new() };
        for (file, text) in files {
            table.add_file(text).map_err(|error| format!("{file}: {error}"))?;
        }
        Ok(table)
    }

    fn add_file(&mut self, text: &str) -> Result<(), String> {
        let spec: FileSpec = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let mut names = Names::default();
        for (name, list) in &spec.lists {
            let items = list.split_whitespace().map(str::to_owned).collect();
            names.lists.insert(name.clone(), items);
        }
        for (name, program) in &spec.programs {
            let form = Form::read(program, None, &names).map_err(|e| format!("{name}: {e}"))?;
            for name in std::iter::once(name).chain(&program.also) {
                if self.programs.insert(name.clone(), form.clone()).is_some() {
                    return Err(format!("{name} is described twice"));
                }
            }
        }
        for (name, spec) in spec.instead {
            let instead = Instead { why: spec.why, nearest: spec.r#try };
            for name in name.split_whitespace() {
                self.instead.insert(name.to_owned(), instead.clone());
            }
        }
        Ok(())
    }
}

impl Form {
    fn read(spec: &FormSpec, above: Option<&Form>, names: &Names) -> Result<Form, String> {
        let mut form = Form {
            nearest: spec.r#try.clone().or_else(|| above.and_then(|form| form.nearest.clone())),
            style: spec.style.or(above.map(|form| form.style)).unwrap_or(Style::Getopt),
            network: spec.network.is_some() || above.is_some_and(|form| form.network),
            resolves: spec.resolves.is_some() || above.is_some_and(|form| form.resolves),
            flags: notation::flags(&spec.flags, names)?,
            args: spec.args.as_deref().map(|args| notation::slots(args, names)).transpose()?,
            require: spec
                .require
                .iter()
                .map(|list| list.split_whitespace().map(str::to_owned).collect())
                .collect(),
            add: spec.add.clone(),
            refuse: BTreeMap::new(),
            subs: BTreeMap::new(),
            forms: Vec::new(),
        };
        for (flags, reason) in &spec.refuse {
            form.refuse.extend(flags.split_whitespace().map(|f| (f.to_owned(), reason.clone())));
        }
        if let Some(above) = above.filter(|_| spec.inherit != Some(Inherit::Nothing)) {
            for (flag, takes) in &above.flags {
                form.flags.entry(flag.clone()).or_insert_with(|| takes.clone());
            }
        }
        if let Some(above) = above {
            for (flag, reason) in &above.refuse {
                form.refuse.entry(flag.clone()).or_insert_with(|| reason.clone());
            }
        }
        form.refuse.retain(|flag, _| !form.flags.contains_key(flag));
        form.check()?;
        for (name, sub) in &spec.sub {
            let read = Form::read(sub, Some(&form), names).map_err(|e| format!("{name}: {e}"))?;
            for name in std::iter::once(name).chain(&sub.also) {
                if form.subs.insert(name.clone(), read.clone()).is_some() {
                    return Err(format!("{name} is described twice"));
                }
            }
        }
        for alternative in &spec.forms {
            let read = Form::read(alternative, Some(&form), names)?;
            form.forms.push(read);
        }
        Ok(form)
    }

    /// A required flag that is not allowed, or a cluster letter of two, is a typing error.
    fn check(&self) -> Result<(), String> {
        for flag in self.require.iter().flatten() {
            if !self.flags.contains_key(flag) {
                return Err(format!("{flag} is required but not a flag"));
            }
        }
        let clusters = matches!(self.style, Style::Getopt | Style::Go | Style::Bsd);
        for flag in self.flags.keys().filter(|_| clusters) {
            let short = flag.starts_with('-') && !flag.starts_with("--");
            if short && flag.len() != 2 && flag != "-NUM" && flag != "-aux" {
                return Err(format!("{flag} is not one letter"));
            }
        }
        Ok(())
    }
}
