//! Enough of Rust's syntax for the rules: which characters are code, where functions begin and end.
//!
//! This is no parser. `code_only` is exact about comments and literals; `functions` assumes code
//! that compiles and is formatted by rustfmt, which `lint` and the build check elsewhere.

/// `text` with the insides of comments, strings and characters replaced by spaces. Lines and columns
/// stay where they are.
pub(super) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let (length, is_code) = match rest {
            ['/', '/', ..] => (line_comment(rest), false),
            ['/', '*', ..] => (block_comment(rest), false),
            ['"', ..] => (string(rest, 1), false),
            ['b' | 'c', '"', ..] if starts_token(&chars, at) => (string(rest, 2), false),
            ['r', '"' | '#', ..] if starts_token(&chars, at) => literal_or_one(raw_string(rest, 1)),
            ['b' | 'c', 'r', '"' | '#', ..] if starts_token(&chars, at) => {
                literal_or_one(raw_string(rest, 2))
            }
            ['\'', ..] => literal_or_one(character(rest)),
            _ => (1, true),
        };
        for &c in &rest[..length.min(rest.len())] {
            code.push(if is_code || c == '\n' { c } else { ' ' });
        }
        at += length;
    }
    code
}

/// What looked like the start of a literal and is none is one character of code.
fn literal_or_one(length: Option<usize>) -> (usize, bool) {
    length.map_or((1, true), |length| (length, false))
}

fn starts_token(chars: &[char], at: usize) -> bool {
    at == 0 || !(chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn line_comment(rest: &[char]) -> usize {
    rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[char], start: usize) -> usize {
    let mut at = start;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a raw string whose `#`s begin at `start`; `None` for a raw identifier.
fn raw_string(rest: &[char], start: usize) -> Option<usize> {
    let hashes = rest[start..].iter().take_while(|&&c| c == '#').count();
    let open = start + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| {
        rest[at] == '"'
            && rest[at + 1..]
                .iter()
                .take(hashes)
                .filter(|&&c| c == '#')
                .count()
                == hashes
    };
    Some(
        (open + 1..rest.len())
            .find(|&at| closes(at))
            .map_or(rest.len(), |at| at + 1 + hashes),
    )
}

/// Length of a character literal; `None` for a lifetime.
fn character(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', ..] => {
            let close = rest.iter().skip(3).position(|&c| c == '\'')?;
            Some(close + 4)
        }
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// From the line of `fn` to the line of the closing brace, both counted.
    pub(super) lines: usize,
    /// Line of `fn`, from 1.
    pub(super) line: usize,
}

/// The functions in `code`, which is the result of `code_only`.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let start: usize = code.split_inclusive('\n').take(index).map(str::len).sum();
        if let Some(lines) = lines_to_close(&code[start..]) {
            found.push(Function {
                name,
                lines,
                line: index + 1,
            });
        }
    }
    found
}

/// The name in `pub(crate) async fn name<T>(`. A `fn` that is a type, as in `f: fn(u32)`, has none.
fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_inclusive(' ').peekable();
    while let Some(word) = words.next() {
        if word == "fn " {
            let name: String = words
                .peek()?
                .trim_start_matches("r#")
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            return (!name.is_empty()).then_some(name);
        }
    }
    None
}

/// Lines up to the brace that closes the first one; `None` if a `;` outside brackets comes first.
fn lines_to_close(code: &str) -> Option<usize> {
    let (mut braces, mut brackets, mut lines) = (0, 0, 1);
    for c in code.chars() {
        match c {
            '\n' => lines += 1,
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(lines);
                }
            }
            _ => {}
        }
    }
    None
}

/// Number of lines before the tests inside the file begin.
pub(super) fn product_lines(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let tests = (0..lines.len()).find(|&at| {
        lines[at] == "#[cfg(test)]"
            && lines
                .get(at + 1)
                .is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
    });
    tests.unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let cases = [
            ("a // todo!()\nb", "a b"),
            ("a /* x /* y */ z */ b", "a b"),
            (r#"f("todo!() \" x") g"#, "f( ) g"),
            ("r#\"a \"quoted\" b\"# c", "c"),
            ("br\"x\" c'q", "c'q"),
            ("let r#type = b\"x\";", "let r#type = ;"),
            ("'{' '\\'' '\\u{1F}' x", "x"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("number(\"\")", "number( )"),
        ];
        for (text, kept) in cases {
            let code = code_only(text);
            let words: Vec<&str> = code.split_whitespace().collect();
            assert_eq!(words.join(" "), kept, "{text}");
            assert_eq!(code.chars().count(), text.chars().count(), "{text}");
        }
    }

    #[test]
    fn functions_are_measured() {
        let text = "\
pub(crate) async fn first<const N: usize>(x: [u8; 3]) -> u8
where
    u8: Copy,
{
    if x { '{' } else { \"}\" }
}
trait T {
    fn declared(&self);
    fn given(&self) {}
}
let f: fn(u8) = g;
";
        let found = functions(&code_only(text));
        let short: Vec<_> = found
            .iter()
            .map(|found| (found.name.as_str(), found.line, found.lines))
            .collect();
        assert_eq!(short, [("first", 1, 6), ("given", 9, 1)]);
    }

    #[test]
    fn the_product_ends_where_the_tests_begin() {
        assert_eq!(product_lines("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(product_lines("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
        assert_eq!(product_lines("a\n#[cfg(test)]\nfn x() {}\n"), 3);
    }
}
