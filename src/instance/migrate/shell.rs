//! Reads scripts of a shell as text: which variables are set to what, which programs are called with
//! which words. Nothing is ever run, and what would have to be run to be known is marked as such.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Longest word that is believed: a script may double a variable sixty times.
const LONGEST_WORD: usize = 16 << 10;
/// Words before a command that are not the command.
const PREFIXES: [&str; 16] = [
    "if", "then", "else", "elif", "while", "until", "do", "!", "{", "sudo", "env", "exec", "nice",
    "time", "command", "ionice",
];

/// One word, its quotes taken away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Word {
    /// What is known of it.
    pub text: String,
    /// Whether a part of it is known only to a shell that runs the script.
    pub is_computed: bool,
}

/// What a script says.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    variables: BTreeMap<String, Word>,
    /// Commands in order, each with the program first.
    pub commands: Vec<Vec<Word>>,
}

impl Script {
    /// Reads a script of sh or bash.
    pub fn read(text: &str) -> Self {
        Reader::new(text, true).read()
    }

    /// Reads commands of lftp, which expand nothing.
    pub fn read_plain(text: &str) -> Self {
        Reader::new(text, false).read()
    }

    /// The value of a variable, if it is known without running anything.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.variables.get(name).filter(|word| !word.is_computed).map(|word| word.text.as_str())
    }

    /// Whether a variable is set to something only a shell could tell.
    pub fn is_computed(&self, name: &str) -> bool {
        self.variables.get(name).is_some_and(|word| word.is_computed)
    }
}

struct Reader<'t> {
    chars: Peekable<Chars<'t>>,
    is_shell: bool,
    script: Script,
    command: Vec<Word>,
    word: Option<Word>,
    /// The next word is where output goes.
    is_redirection: bool,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, is_shell: bool) -> Self {
        Self {
            chars: text.chars().peekable(),
            is_shell,
            script: Script::default(),
            command: Vec::new(),
            word: None,
            is_redirection: false,
        }
    }

    fn read(mut self) -> Script {
        while let Some(letter) = self.chars.next() {
            match letter {
                '\\' => match self.chars.next() {
                    None | Some('\n') => {}
                    Some(escaped) => self.push(escaped),
                },
                '\'' => self.single_quoted(),
                '"' => self.double_quoted(),
                '#' if self.word.is_none() => self.skip_until('\n'),
                '\n' | ';' => self.end_command(),
                '&' if self.is_shell && self.chars.peek() == Some(&'>') => {}
                '&' | '|' | '(' | ')' if self.is_shell => self.end_command(),
                '>' | '<' if self.is_shell => self.redirect(),
                '$' if self.is_shell => self.expand(),
                '`' if self.is_shell => {
                    self.skip_until('`');
                    self.computed();
                }
                _ if letter.is_whitespace() => self.end_word(),
                _ => self.push(letter),
            }
        }
        self.end_command();
        self.script
    }

    fn push(&mut self, letter: char) {
        let word = self.word.get_or_insert_default();
        if word.text.len() < LONGEST_WORD {
            word.text.push(letter);
        } else {
            word.is_computed = true;
        }
    }

    fn computed(&mut self) {
        self.word.get_or_insert_default().is_computed = true;
    }

    fn skip_until(&mut self, end: char) {
        while self.chars.next_if(|letter| *letter != end).is_some() {}
        // The end of a line ends the command, too.
        if end != '\n' {
            self.chars.next();
        }
    }

    fn single_quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(letter) = self.chars.next().filter(|letter| *letter != '\'') {
            self.push(letter);
        }
    }

    fn double_quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(letter) = self.chars.next().filter(|letter| *letter != '"') {
            match letter {
                '\\' => {
                    if let Some(escaped) = self.chars.next() {
                        self.push(escaped);
                    }
                }
                '$' if self.is_shell => self.expand(),
                '`' if self.is_shell => {
                    self.skip_until('`');
                    self.computed();
                }
                _ => self.push(letter),
            }
        }
    }

    /// What follows a `$`.
    fn expand(&mut self) {
        match self.chars.peek().copied() {
            Some('(') => {
                self.skip_parentheses();
                self.computed();
            }
            Some('{') => {
                self.chars.next();
                let mut inside = String::new();
                while let Some(letter) = self.chars.next().filter(|letter| *letter != '}') {
                    inside.push(letter);
                }
                let end = inside.find(|c| !is_name(c)).unwrap_or(inside.len());
                let (name, rest) = inside.split_at(end);
                let default = rest.strip_prefix(":-").or_else(|| rest.strip_prefix('-'));
                self.variable(name, default.filter(|text| !text.contains(['$', '`'])), rest);
            }
            Some(letter) if is_name(letter) && !letter.is_ascii_digit() => {
                let mut name = String::new();
                while let Some(letter) = self.chars.next_if(|letter| is_name(*letter)) {
                    name.push(letter);
                }
                self.variable(&name, None, "");
            }
            _ => {
                self.chars.next();
                self.computed();
            }
        }
    }

    fn variable(&mut self, name: &str, default: Option<&str>, operation: &str) {
        let is_plain = operation.is_empty() || default.is_some();
        let value = match (self.script.variables.get(name), default) {
            (Some(word), _) if is_plain && !word.is_computed => word.text.clone(),
            (None, Some(default)) => default.to_owned(),
            _ => return self.computed(),
        };
        value.chars().for_each(|letter| self.push(letter));
    }

    fn skip_parentheses(&mut self) {
        let mut depth = 0_usize;
        for letter in self.chars.by_ref() {
            match letter {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn redirect(&mut self) {
        let is_number = |word: &Word| word.text.chars().all(|letter| letter.is_ascii_digit());
        if self.word.as_ref().is_some_and(is_number) {
            self.word = None;
        }
        self.end_word();
        while self.chars.next_if(|letter| matches!(letter, '>' | '<' | '&')).is_some() {}
        self.is_redirection = true;
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.is_redirection)
        {
            self.command.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.is_redirection = false;
        let command = std::mem::take(&mut self.command);
        let mut words = command.into_iter().peekable();
        loop {
            let Some(word) = words.peek() else { return };
            if let Some((name, value)) = assignment(word) {
                self.script.variables.insert(name, value);
            } else if matches!(word.text.as_str(), "export" | "local" | "readonly" | "declare") {
                words.next();
                self.script.variables.extend(words.filter_map(|word| assignment(&word)));
                return;
            } else if !PREFIXES.contains(&word.text.as_str()) {
                break;
            }
            words.next();
        }
        self.script.commands.push(words.collect());
    }
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// `NAME=VALUE`
fn assignment(word: &Word) -> Option<(String, Word)> {
    let (name, value) = word.text.split_once('=')?;
    let is_one = !name.is_empty() && name.chars().all(is_name);
    let value = Word { text: value.to_owned(), is_computed: word.is_computed };
    is_one.then(|| (name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(text: &str) -> Vec<String> {
        let words = |command: &Vec<Word>| {
            let mark =
                |word: &Word| format!("{}{}", word.text, if word.is_computed { "?" } else { "" });
            command.iter().map(mark).collect::<Vec<_>>().join("|")
        };
        Script::read(text).commands.iter().map(words).collect()
    }

    #[test]
    fn commands_are_cut_as_a_shell_would() {
        for (text, expected) in [
            ("a b # c\n d", &["a|b", "d"][..]),
            ("a 'b; c' \"d \\\" e\" && f|g", &["a|b; c|d \" e", "f", "g"]),
            ("a \\\n  b", &["a|b"]),
            ("if a; then b &> log/x 2>&1 || c; fi", &["a", "b", "c", "fi"]),
            ("X=1 Y='2 3'\nsudo a $X \"$Y\" $Z", &["a|1|2 3|?"]),
            ("export X=a\nb ${X}/c ${Q:-d} ${X%a} ${1}", &["b|a/c|d|?|?"]),
            ("a $(b; c $(d)) `e; f` g", &["a|?|?|g"]),
            ("a 'unterminated\nb", &["a|unterminated\nb"]),
            ("a $", &["a|?"]),
            ("$(", &["?"]),
        ] {
            assert_eq!(commands(text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_a_shell_could_know_has_no_value() {
        let script = Script::read("A=$(touch /tmp/x)\nB=`id`\nC=\"$A\"\nD=x$E\nF='$(g)'\n");
        for name in ["A", "B", "C", "D"] {
            assert_eq!(script.value(name), None, "{name}");
            assert!(script.is_computed(name));
        }
        assert_eq!(script.value("F"), Some("$(g)"));
    }

    #[test]
    fn doubling_a_word_comes_to_an_end() {
        let text = format!("A=xxxxxxxx\n{}b $A\n", "A=$A$A\n".repeat(60));
        let script = Script::read(&text);
        assert!(script.is_computed("A"));
        assert!(script.commands[0][1].text.len() <= LONGEST_WORD);
    }

    #[test]
    fn lftp_expands_nothing() {
        let script = Script::read_plain("connect ftp://u:p$(x)&`y`@h; mkdir -p a");
        let texts: Vec<&str> = script.commands[0].iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["connect", "ftp://u:p$(x)&`y`@h"]);
        assert_eq!(script.commands.len(), 2);
    }
}
