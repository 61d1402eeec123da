//! Conditions on the rows of one table: a small part of what SQL may say after `WHERE`, computed from the text
//! that `COPY` wrote. As there, what compares with NULL is neither true nor false.

use std::cmp::Ordering;

use super::super::key::DomainKey;
use super::super::row::Cell;
use super::super::rule::nearest;
use super::super::schema::Table;
use super::token::{Token, tokens};
use super::value::{DAY, Scale, Value};

/// How deep parentheses may be.
const DEEPEST: usize = 40;
/// Parts of a per cent that `sample` tells apart.
const PARTS: u64 = 10_000;

/// A condition.
#[derive(Debug)]
pub struct Condition {
    root: Node,
    columns: Vec<usize>,
}

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Known(bool),
    IsNull(usize),
    Compare { column: usize, scale: Scale, modulus: Option<i64>, op: Op, operand: Operand },
    Like { column: usize, pattern: Vec<char> },
    Sample { column: usize, parts: u64, key: DomainKey },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Debug)]
enum Operand {
    Fixed(Value),
    /// So many days before the snapshot.
    Snapshot(i64),
}

impl Op {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterEqual => order.is_ge(),
        }
    }
}

impl Condition {
    /// Reads `text`, a condition on rows of `table`. `key` draws samples.
    pub fn parse(text: &str, table: &Table, key: &DomainKey) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser =
            Parser { tokens: &tokens, at: 0, depth: 0, table, key, columns: Vec::new() };
        let root = parser.any()?;
        match parser.peek() {
            None => {
                parser.columns.sort_unstable();
                parser.columns.dedup();
                Ok(Self { root, columns: parser.columns })
            }
            Some(token) => Err(format!("nothing can follow before {token}")),
        }
    }

    /// The columns it looks at, by their places.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Whether it is true for a row; `time`: of the snapshot, in microseconds since 1970. The error is a column
    /// that cannot be read.
    pub fn holds(&self, cells: &[Cell], time: i128) -> Result<bool, usize> {
        Ok(self.root.truth(cells, time)? == Some(true))
    }
}

impl Node {
    /// Neither true nor false is `None`.
    fn truth(&self, cells: &[Cell], time: i128) -> Result<Option<bool>, usize> {
        let value = |column: usize| cells.get(column).and_then(Cell::value);
        Ok(match self {
            Self::Known(truth) => Some(*truth),
            Self::Not(inner) => inner.truth(cells, time)?.map(|truth| !truth),
            Self::All(parts) => Self::decided(parts, false, cells, time)?,
            Self::Any(parts) => Self::decided(parts, true, cells, time)?,
            Self::IsNull(column) => Some(value(*column).is_none()),
            Self::Like { column, pattern } => value(*column).map(|text| is_like(text, pattern)),
            Self::Sample { column, parts, key } => {
                value(*column).map(|text| key.draw(text, 0).below(100 * PARTS) < *parts)
            }
            Self::Compare { column, scale, modulus, op, operand } => match value(*column) {
                None => None,
                Some(text) => {
                    let mut found = scale.read(text).ok_or(*column)?;
                    if let (Value::Integer(number), Some(modulus)) = (&mut found, modulus) {
                        *number = number.wrapping_rem(*modulus);
                    }
                    let order = match operand {
                        Operand::Fixed(value) => found.order(value),
                        Operand::Snapshot(days) => {
                            let moment = time - i128::from(*days) * DAY;
                            let moment = match scale {
                                Scale::Day => moment.div_euclid(DAY) * DAY,
                                _ => moment,
                            };
                            found.order(&Value::Moment(moment))
                        }
                    };
                    Some(op.holds(order))
                }
            },
        })
    }

    /// `truth` decides; otherwise what is unknown does.
    fn decided(
        parts: &[Self],
        truth: bool,
        cells: &[Cell],
        time: i128,
    ) -> Result<Option<bool>, usize> {
        let mut all = Some(!truth);
        for part in parts {
            match part.truth(cells, time)? {
                Some(found) if found == truth => return Ok(Some(truth)),
                Some(_) => {}
                None => all = None,
            }
        }
        Ok(all)
    }
}

/// Whether a text fits a pattern in which `%` is anything and `_` one letter.
fn is_like(text: &str, pattern: &[char]) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut from) = (0, 0);
    // Where the last `%` was, and what it stands for so far.
    let mut back: Option<(usize, usize)> = None;
    while at < text.len() {
        let fits = match (pattern.get(from), pattern.get(from + 1)) {
            (Some('%'), _) => {
                back = Some((from + 1, at));
                from += 1;
                continue;
            }
            (Some('_'), _) => Some(1),
            (Some('\\'), Some(letter)) => (text.get(at) == Some(letter)).then_some(2),
            (Some(letter), _) => (text.get(at) == Some(letter)).then_some(1),
            (None, _) => None,
        };
        match (fits, &mut back) {
            (Some(width), _) => {
                at += 1;
                from += width;
            }
            (None, Some((behind, until))) => {
                *until += 1;
                (at, from) = (*until, *behind);
            }
            (None, None) => return false,
        }
    }
    pattern.get(from..).unwrap_or_default().iter().all(|letter| *letter == '%')
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    table: &'a Table,
    key: &'a DomainKey,
    columns: Vec<usize>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Result<&'a Token, String> {
        let token = self.peek().ok_or("it ends too early")?;
        self.at += 1;
        Ok(token)
    }

    /// Takes `word` if it comes next.
    fn word(&mut self, word: &str) -> bool {
        let is_next =
            matches!(self.peek(), Some(Token::Name(name)) if name.eq_ignore_ascii_case(word));
        self.at += usize::from(is_next);
        is_next
    }

    fn sign(&mut self, sign: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(is_next);
        is_next
    }

    fn needed(&mut self, sign: &str) -> Result<(), String> {
        match self.sign(sign) {
            true => Ok(()),
            false => Err(match self.peek() {
                Some(token) => format!("`{sign}` is missing before {token}"),
                None => format!("`{sign}` is missing at its end"),
            }),
        }
    }

    fn any(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it has parentheses in more than {DEEPEST} others"));
        }
        let mut parts = vec![self.all()?];
        while self.word("or") {
            parts.push(self.all()?);
        }
        self.depth -= 1;
        Ok(Node::Any(parts))
    }

    fn all(&mut self) -> Result<Node, String> {
        let mut parts = vec![self.one()?];
        while self.word("and") {
            parts.push(self.one()?);
        }
        Ok(Node::All(parts))
    }

    fn one(&mut self) -> Result<Node, String> {
        let mut is_turned = false;
        while self.word("not") {
            is_turned = !is_turned;
        }
        let node = match self.sign("(") {
            true => {
                let inner = self.any()?;
                self.needed(")")?;
                inner
            }
            false => self.predicate()?,
        };
        Ok(if is_turned { Node::Not(Box::new(node)) } else { node })
    }

    fn column(&mut self) -> Result<(usize, Scale), String> {
        let token = self.next()?;
        let name = match token {
            Token::Name(name) => name.to_ascii_lowercase(),
            Token::Quoted(name) => name.clone(),
            _ => return Err(format!("a column is missing before {token}")),
        };
        let position = self.table.position(&name);
        let found = position.and_then(|at| self.table.columns.get(at).map(|column| (at, column)));
        let Some((at, column)) = found else {
            let hint = nearest(&name, self.table.columns.iter().map(|c| c.name.as_str()));
            return Err(format!("there is no column `{name}`; {hint}"));
        };
        self.columns.push(at);
        Ok((at, Scale::of(column)))
    }

    fn predicate(&mut self) -> Result<Node, String> {
        for (word, truth) in [("true", true), ("false", false)] {
            if self.word(word) {
                return Ok(Node::Known(truth));
            }
        }
        let is_call = matches!(self.tokens.get(self.at + 1), Some(Token::Sign("(")));
        if is_call && self.word("sample") {
            return self.sample();
        }
        let (column, scale) = self.column()?;
        if self.word("is") {
            let is_turned = self.word("not");
            if !self.word("null") {
                return Err("`IS` is followed by `NULL` or `NOT NULL`".to_owned());
            }
            let node = Node::IsNull(column);
            return Ok(if is_turned { Node::Not(Box::new(node)) } else { node });
        }
        if scale == Scale::Presence {
            let name =
                self.table.columns.get(column).map_or("", |column| column.type_name.as_str());
            return Err(format!("of the type `{name}` it can only be asked whether it IS NULL"));
        }
        self.comparison(column, scale)
    }

    /// What is said of a column.
    fn comparison(&mut self, column: usize, scale: Scale) -> Result<Node, String> {
        let modulus = match self.sign("%") {
            false => None,
            true => match (scale, self.next()?) {
                (Scale::Integer, Token::Number(text)) => Some(
                    text.parse()
                        .ok()
                        .filter(|number| *number > 0)
                        .ok_or("`%` needs a number above 0")?,
                ),
                _ => return Err("`%` is for columns of whole numbers, and a number".to_owned()),
            },
        };
        let compare = |op, operand| Node::Compare { column, scale, modulus, op, operand };
        let is_turned = self.word("not");
        let turned = |node| if is_turned { Node::Not(Box::new(node)) } else { node };
        if self.word("in") {
            self.needed("(")?;
            let mut parts = vec![compare(Op::Equal, self.operand(scale)?)];
            while self.sign(",") {
                parts.push(compare(Op::Equal, self.operand(scale)?));
            }
            self.needed(")")?;
            return Ok(turned(Node::Any(parts)));
        }
        if self.word("between") && scale.is_ordered() {
            let least = compare(Op::GreaterEqual, self.operand(scale)?);
            if !self.word("and") {
                return Err("`BETWEEN` needs two values with `AND` between them".to_owned());
            }
            let most = compare(Op::LessEqual, self.operand(scale)?);
            return Ok(turned(Node::All(vec![least, most])));
        }
        if self.word("like") && matches!(scale, Scale::Text | Scale::Padded) {
            return match self.next()? {
                Token::Text(text) => {
                    Ok(turned(Node::Like { column, pattern: text.chars().collect() }))
                }
                token => Err(format!("`LIKE` needs a 'text', not {token}")),
            };
        }
        if is_turned {
            return Err(
                "`NOT` behind a column is followed by `IN`, `LIKE` of a text, or `BETWEEN`"
                    .to_owned(),
            );
        }
        self.simple(scale, compare)
    }

    /// An operator and a value, or a boolean column by itself.
    fn simple(
        &mut self,
        scale: Scale,
        compare: impl Fn(Op, Operand) -> Node,
    ) -> Result<Node, String> {
        match self.operator() {
            Some(op) if matches!(op, Op::Equal | Op::Unequal) || scale.is_ordered() => {
                Ok(compare(op, self.operand(scale)?))
            }
            Some(_) => Err("values of this column can only be equal or not".to_owned()),
            None if scale == Scale::Boolean => {
                Ok(compare(Op::Equal, Operand::Fixed(Value::Boolean(true))))
            }
            None => Err(match self.peek() {
                Some(token) => format!("a comparison is missing before {token}"),
                None => "a comparison is missing at its end".to_owned(),
            }),
        }
    }

    fn operator(&mut self) -> Option<Op> {
        let known = [
            ("=", Op::Equal),
            ("<>", Op::Unequal),
            ("!=", Op::Unequal),
            ("<=", Op::LessEqual),
            (">=", Op::GreaterEqual),
            ("<", Op::Less),
            (">", Op::Greater),
        ];
        known.into_iter().find(|(sign, _)| self.sign(sign)).map(|(_, op)| op)
    }

    /// What a column is compared with.
    fn operand(&mut self, scale: Scale) -> Result<Operand, String> {
        let is_time = matches!(scale, Scale::Day | Scale::Moment);
        if is_time && self.word("snapshot") {
            if !self.sign("-") {
                return Ok(Operand::Snapshot(0));
            }
            let days = match self.next()? {
                Token::Number(text) => {
                    text.parse().ok().filter(|days| (0..=100_000).contains(days))
                }
                _ => None,
            };
            return match (days, self.word("days") || self.word("day")) {
                (Some(days), true) => Ok(Operand::Snapshot(days)),
                _ => Err("write `snapshot - 90 days`".to_owned()),
            };
        }
        let is_negative = self.sign("-");
        let token = self.next()?;
        let text = match (token, scale) {
            (Token::Number(text), Scale::Integer | Scale::Number) if is_negative => {
                format!("-{text}")
            }
            (Token::Number(text), Scale::Integer | Scale::Number) => text.clone(),
            (Token::Name(name), Scale::Boolean) => name.to_ascii_lowercase(),
            (Token::Text(text), scale)
                if !is_negative
                    && !matches!(scale, Scale::Integer | Scale::Number | Scale::Boolean) =>
            {
                text.clone()
            }
            _ => return Err(format!("the column cannot be compared with {token}")),
        };
        let value =
            scale.read(&text).ok_or_else(|| format!("{token} is no value of the column"))?;
        Ok(Operand::Fixed(value))
    }

    /// `(column, per cent)`.
    fn sample(&mut self) -> Result<Node, String> {
        self.needed("(")?;
        let (column, _) = self.column()?;
        self.needed(",")?;
        let parts = match self.next()? {
            Token::Number(text) => parts_of(text).filter(|parts| *parts <= 100 * PARTS),
            _ => None,
        };
        let parts = parts.ok_or("write `sample(column, 5)` for five per cent")?;
        self.needed(")")?;
        Ok(Node::Sample { column, parts, key: self.key.clone() })
    }
}

/// `12.5` per cent as parts; further digits say nothing.
fn parts_of(text: &str) -> Option<u64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let rest: String = rest.chars().chain("0000".chars()).take(4).collect();
    whole.parse::<u32>().ok()?.checked_mul(10_000)?.checked_add(rest.parse().ok()?).map(u64::from)
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
