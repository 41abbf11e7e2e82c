//! The modules of `src/` form layers: a module imports only from its own layer and from lower ones, and never in a circle. The
//! code of tests is exempt.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// The modules of the crate, from the lowest layer to the highest. `main.rs` is above them.
const LAYERS: &[&[&str]] = &[
    &["error_chain", "proxy"],
    &["backoff"],
    &["telemetry"],
    &["api"],
    &["codepipeline"],
    &["decision"],
    &["cli", "event_recorder", "kube_client", "leader_election", "metrics"],
    &["controller"],
    &["check", "http", "operator"],
];

type ModulePath = Vec<String>;

/// The source files, by the paths of their modules.
fn modules() -> BTreeMap<ModulePath, PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_stem().unwrap().to_str().unwrap();
            if ["tests", "test_fixtures", "main", "lib"].contains(&name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let module = path.strip_prefix(&root).unwrap().with_extension("");
                let segments = module.iter().map(|segment| segment.to_str().unwrap().to_owned());
                found.insert(segments.filter(|segment| segment != "mod").collect(), path);
            }
        }
    }
    found
}

/// The code of a file without comments and without its `#[cfg(test)] mod tests` block.
fn production_code(file: &Path) -> String {
    let text = read_to_string(file).unwrap();
    let text = match text.split_once("\n#[cfg(test)]\nmod tests {") {
        Some((before, block)) => format!("{before}\n{}", block.split_once("\n}\n").map_or("", |(_, after)| after)),
        None => text,
    };
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Expands a use tree, such as `a::{b, c::d}`, and appends its paths to `found`. Returns the text after the tree.
fn expand<'a>(text: &'a str, prefix: &[String], found: &mut Vec<ModulePath>) -> &'a str {
    if let Some(mut rest) = text.strip_prefix('{') {
        while !rest.trim().is_empty() && !rest.trim_start().starts_with('}') {
            rest = expand(rest.trim_start(), prefix, found);
            // Skips `as NAME`.
            rest = rest[rest.find([',', '}']).unwrap_or(rest.len())..].trim_start_matches(',');
        }
        return rest.trim_start().strip_prefix('}').unwrap_or_default();
    }
    let (name, rest) = text.split_at(text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len()));
    let path = [prefix, &[name.to_owned()]].concat();
    match rest.strip_prefix("::") {
        Some(rest) => expand(rest, &path, found),
        None => {
            found.push(path);
            rest
        }
    }
}

/// The paths that start with `crate::` or `super::`, as paths from the root of the crate.
fn imports(module: &[String], code: &str) -> Vec<ModulePath> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        // The rest of `super::super::`, or of a longer name.
        if code[..start].ends_with("super::") || code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let (mut base, mut rest) = match code[start..].strip_prefix("crate::") {
            Some(rest) => (Vec::new(), rest),
            None => (module.to_vec(), &code[start..]),
        };
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        expand(rest, &base, &mut found);
    }
    found
}

/// The imports between the files of a folder: from which file to which, and the import itself.
type Edges = Vec<(String, String, String)>;

/// Keeps the imports that are part of a circle.
fn circles(mut edges: Edges) -> Edges {
    loop {
        let (from, to): (BTreeSet<_>, BTreeSet<_>) =
            edges.iter().map(|(from, to, _)| (from.clone(), to.clone())).unzip();
        let before = edges.len();
        edges.retain(|edge| to.contains(&edge.0) && from.contains(&edge.1));
        if edges.len() == before {
            return edges;
        }
    }
}

#[test]
fn modules_import_downwards_and_never_in_a_circle() {
    let modules = modules();
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut violations = Vec::new();
    let mut folders: BTreeMap<&[String], Edges> = BTreeMap::new();
    for (module, file) in &modules {
        let own_layer = layer(&module[0]).unwrap_or_else(|| panic!("add {file:?} to LAYERS"));
        for path in imports(module, &production_code(file)) {
            let target = (0..=path.len()).rev().map(|end| &path[..end]).find(|path| modules.contains_key(*path));
            let target = target.unwrap_or_default();
            let import = format!("{} imports crate::{}", file.display(), path.join("::"));
            let shared = target.iter().zip(module).take_while(|(left, right)| left == right).count();
            if target.first().and_then(|first| layer(first)).is_some_and(|layer| layer > own_layer) {
                violations.push(format!("{import}: a module imports only from its own layer and from lower ones"));
            } else if shared == target.len() && shared < module.len() {
                violations.push(format!("{import}: a module does not import from the file of its parent"));
            } else if let (Some(from), Some(to)) = (module.get(shared), target.get(shared)) {
                folders.entry(&module[..shared]).or_default().push((from.clone(), to.clone(), import));
            }
        }
    }
    for (_, _, import) in folders.into_values().flat_map(circles) {
        violations.push(format!("{import}: modules do not import each other in a circle"));
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
