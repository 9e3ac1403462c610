//! The language of label selectors in a query.

use super::{Error, Operator, Requirement, invalid};
use crate::name::label_key_errors;

/// A word of the language; a symbol or one of the two words that are operators only where one is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Close,
    Comma,
    Not,
    Operator(Operator),
    Open,
    Identifier,
    End,
}

struct Parser<'a> {
    rest: &'a str,
    /// The word that was looked at and not yet taken.
    next: Option<(Token, &'a str)>,
}

/// Reads all requirements of a selector, in the order written.
pub(super) fn selector(text: &str) -> Result<Vec<Requirement>, Error> {
    let mut parser = Parser { rest: text, next: None };
    let mut all = Vec::new();
    loop {
        match parser.peek() {
            (Token::Identifier | Token::Not, _) => {}
            (Token::End, _) => return Ok(all),
            (_, found) => return Err(expected(found, " expected: !, identifier, or 'end of string'")),
        }
        all.push(
            parser
                .requirement()
                .map_err(|Error(why)| Error(format!("unable to parse requirement: {why}")))?,
        );
        match parser.take() {
            (Token::End, _) => return Ok(all),
            (Token::Comma, _) => match parser.peek() {
                (Token::Identifier | Token::Not, _) => {}
                (_, found) => return Err(expected(found, " expected: identifier after ','")),
            },
            (_, found) => return Err(expected(found, " expected: ',' or 'end of string'")),
        }
    }
}

impl<'a> Parser<'a> {
    fn requirement(&mut self) -> Result<Requirement, Error> {
        let mut word = self.take();
        let negated = word.0 == Token::Not;
        if negated {
            word = self.take();
        }
        let (Token::Identifier, key) = word else { return Err(expected(word.1, " expected: identifier")) };
        let wrong = label_key_errors(key);
        if !wrong.is_empty() {
            return Err(Error(invalid("<nil>", key, &wrong.join("; "))));
        }
        if negated {
            return Requirement::new(key.to_owned(), Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(key.to_owned(), Operator::Exists, Vec::new());
        }
        let operator = match self.take_raw() {
            (Token::Operator(operator), _) => operator,
            (Token::Identifier, "in") => Operator::In,
            (Token::Identifier, "notin") => Operator::NotIn,
            (_, found) => return Err(expected(found, " expected: in, notin, =, ==, !=, gt, lt")),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact()?],
        };
        Requirement::new(key.to_owned(), operator, values)
    }

    /// The list in parentheses; what is left out between commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, Error> {
        match self.take() {
            (Token::Open, _) => {}
            (_, found) => return Err(Error(format!("found '{found}' expected: '('"))),
        }
        match self.peek() {
            (Token::Identifier | Token::Comma, _) => {}
            (Token::Close, _) => {
                self.take();
                return Ok(vec![String::new()]);
            }
            (_, found) => return Err(expected(found, " expected: ',', ')' or identifier")),
        }
        let mut values = Vec::new();
        loop {
            match self.take() {
                (Token::Identifier, value) => {
                    values.push(value.to_owned());
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => break,
                        (_, found) => return Err(expected(found, " expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    let next = self.peek().0;
                    if values.is_empty() || matches!(next, Token::Close | Token::Comma) {
                        values.push(String::new());
                    }
                    if next == Token::Close {
                        break;
                    }
                }
                (_, found) => return Err(expected(found, " expected: ',', or identifier")),
            }
        }
        self.take();
        Ok(values)
    }

    fn exact(&mut self) -> Result<String, Error> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take() {
            (Token::Identifier, value) => Ok(value.to_owned()),
            (_, found) => Err(expected(found, " expected: identifier")),
        }
    }

    fn peek(&mut self) -> (Token, &'a str) {
        if self.next.is_none() {
            self.next = Some(self.word());
        }
        self.next.unwrap_or((Token::End, ""))
    }

    fn take(&mut self) -> (Token, &'a str) {
        self.peek();
        self.take_raw()
    }

    fn take_raw(&mut self) -> (Token, &'a str) {
        match self.next.take() {
            Some(word) => word,
            None => self.word(),
        }
    }

    fn word(&mut self) -> (Token, &'a str) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        for (symbol, token) in SYMBOLS {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                self.rest = rest;
                return (token, symbol);
            }
        }
        let ends = |c: char| " \t\r\n=!(),><".contains(c);
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        (if word.is_empty() { Token::End } else { Token::Identifier }, word)
    }
}

/// Every symbol, the longer before its beginning.
const SYMBOLS: [(&str, Token); 9] = [
    ("==", Token::Operator(Operator::DoubleEquals)),
    ("!=", Token::Operator(Operator::NotEquals)),
    ("=", Token::Operator(Operator::Equals)),
    ("!", Token::Not),
    (">", Token::Operator(Operator::GreaterThan)),
    ("<", Token::Operator(Operator::LessThan)),
    ("(", Token::Open),
    (")", Token::Close),
    (",", Token::Comma),
];

fn expected(found: &str, what: &str) -> Error {
    Error(format!("found '{found}',{what}"))
}
