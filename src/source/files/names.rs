//! Names of users and groups.
//!
//! They are read from `/etc/passwd` and `/etc/group` once. Users that only a directory service knows
//! have numbers and no names: asking it needs the C library, and may block.

use std::collections::HashMap;

/// Numbers and names, both ways.
#[derive(Debug, Default)]
pub(crate) struct Names {
    users: Table,
    groups: Table,
}

#[derive(Debug, Default)]
struct Table {
    names: HashMap<u32, String>,
    ids: HashMap<String, u32>,
}

impl Table {
    /// Of several lines with one number or one name the first counts, as in the C library.
    fn parse(file: &[u8]) -> Self {
        let mut table = Self::default();
        for line in file.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b':');
            let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else { continue };
            let (Ok(name), Ok(id)) = (str::from_utf8(name), str::from_utf8(id)) else { continue };
            let Ok(id) = id.parse() else { continue };
            if name.is_empty() || name.starts_with('#') {
                continue;
            }
            table.names.entry(id).or_insert_with(|| name.to_owned());
            table.ids.entry(name.to_owned()).or_insert(id);
        }
        table
    }
}

impl Names {
    /// Those of this system. Files that are missing name nobody.
    pub(crate) fn of_system() -> Self {
        let table = |path| Table::parse(&std::fs::read(path).unwrap_or_default());
        Self { users: table("/etc/passwd"), groups: table("/etc/group") }
    }

    pub(crate) fn user(&self, id: u32) -> Option<&str> {
        self.users.names.get(&id).map(String::as_str)
    }

    pub(crate) fn group(&self, id: u32) -> Option<&str> {
        self.groups.names.get(&id).map(String::as_str)
    }

    pub(crate) fn user_id(&self, name: &str) -> Option<u32> {
        self.users.ids.get(name).copied()
    }

    pub(crate) fn group_id(&self, name: &str) -> Option<u32> {
        self.groups.ids.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts_and_others_are_passed_over() {
        let table = Table::parse(
            b"root:x:0:0::/:/bin/sh\ntoor:x:0:\n\n#c:x:5:\n:x:6:\nbad:x:y\n\xff:x:7:\na:x:8",
        );
        assert_eq!(table.names[&0], "root");
        assert_eq!(table.ids["toor"], 0);
        assert_eq!(table.names[&8], "a");
        assert_eq!(table.names.len(), 2);
    }
}
