//! The fourth mechanism: WGSL by the user of the library, checked before it is linked.
//!
//! A snippet defines functions that a kernel calls, such as `score_mod`. It may declare functions, constants,
//! structures and aliases of its own, and read the buffers that it names: a buffer `bias` is read by a function
//! `bias(index)`, which gives 0 past the end. Beside these and WGSL itself it sees the functions of its [`Scope`]
//! alone. That holds because of three things:
//!
//! - [`Snippet::check`] reads the text: brackets match, and nothing is declared but what is said above.
//! - [`Snippet::alone`] is a module with the snippet's lines first and what it may use after them. Compiled by itself,
//!   it names the user's own lines in the words of the compiler.
//! - In a linked shader every name that a snippet declares has a prefix, and its lines are indented, so that neither
//!   the names nor the declarations that the linker looks for can be the user's.

use std::fmt::{self, Write as _};

use crate::shader::Checks;

/// What is wrong with a snippet, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnippetError {
    /// What the snippet is called.
    pub snippet: String,
    /// The line, from 1; `None` where no line of the snippet is at fault.
    pub line: Option<usize>,
    /// The line's text.
    pub text: String,
    /// What is wrong with it, in the words of this library or of the shader compiler.
    pub message: String,
}

impl fmt::Display for SnippetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { snippet, line, text, message } = self;
        match line {
            Some(line) => write!(f, "{snippet}, line {line}, `{}`: {message}", text.trim()),
            None => write!(f, "{snippet}: {message}"),
        }
    }
}

impl std::error::Error for SnippetError {}

/// The elements of a buffer that a snippet reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Word {
    /// `f32`.
    F32,
    /// `u32`.
    U32,
    /// `i32`.
    I32,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::U32 => "u32",
            Self::I32 => "i32",
        })
    }
}

/// A buffer that a snippet reads, by the function of its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub word: Word,
}

impl Buffer {
    /// How a linked shader reads it.
    pub fn reader(&self) -> Reader {
        Reader { function: format!("{RESERVED}_buffer_{}", self.name), word: self.word }
    }
}

/// A function of a linked shader that reads a buffer by index, and gives 0 past its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Its name.
    pub function: String,
    /// What it returns.
    pub word: Word,
}

/// How the buffers of a linked shader are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Each by itself.
    Singly,
    /// All in the storage buffer of that name, of u32, whose places and lengths a uniform holds: for adapters that bind
    /// few buffers. The linked text declares it, unless a module does.
    Together {
        /// The storage buffer.
        name: &'static str,
        /// Whether a module declares it.
        declared: bool,
    },
}

impl Bound {
    /// What binds the buffers, numbered from 0 as in a file, and the functions that read them.
    fn declarations(self, readers: &[Reader]) -> String {
        let mut text = String::new();
        match self {
            Self::Together { name, declared } if !readers.is_empty() => {
                if !declared {
                    let _ = writeln!(text, "@group(0) @binding(0) var<storage, read> {name}: array<u32>;");
                }
                let (binding, count) = (u32::from(!declared), readers.len());
                let _ = writeln!(
                    text,
                    "@group(0) @binding({binding}) var<uniform> {name}_places: array<vec4<u32>, {count}>;"
                );
            }
            _ => {}
        }
        for (n, Reader { function, word }) in readers.iter().enumerate() {
            let (within, element) = match self {
                Self::Singly => {
                    let _ = writeln!(
                        text,
                        "@group(0) @binding({n}) var<storage, read> {function}_words: array<{word}>;"
                    );
                    (format!("arrayLength(&{function}_words)"), format!("{function}_words[index]"))
                }
                Self::Together { name, .. } => {
                    let place = format!("{name}_places[{n}]");
                    (format!("{place}.y"), format!("bitcast<{word}>({name}[{place}.x + index])"))
                }
            };
            let _ = writeln!(
                text,
                "fn {function}(index: u32) -> {word} {{\n    \
                     if (index < {within}) {{\n        return {element};\n    }}\n    \
                     return {word}();\n}}"
            );
        }
        text
    }
}

/// A function that a snippet defines: its name and types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its parameters, whose names are the snippet's own.
    pub parameters: &'static [&'static str],
    /// What it returns.
    pub result: &'static str,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fn {}({}) -> {}", self.name, self.parameters.join(", "), self.result)
    }
}

/// What the kernels expect of a snippet, and what they offer to it.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Functions that it must define.
    pub required: &'static [Function],
    /// Functions that it may define.
    pub optional: &'static [Function],
    /// Functions of one `u32` that it may call, each of which gives a `u32`.
    pub offered: &'static [&'static str],
}

/// A piece of WGSL by the user, with the buffers that it reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snippet {
    /// What messages call it: a file's name, say.
    pub name: String,
    /// The WGSL.
    pub source: String,
    /// The buffers that it reads.
    pub buffers: Vec<Buffer>,
}

/// How every name begins that the linker makes; no word of a snippet does.
const RESERVED: &str = "tilewise";

/// Words that no snippet may hold: it is called for one element at a time, where control flow is not uniform.
const NOT_UNIFORM: [&str; 4] =
    ["workgroupBarrier", "storageBarrier", "textureBarrier", "workgroupUniformLoad"];

impl Snippet {
    /// A snippet without buffers.
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Self {
        Self { name: name.into(), source: source.into(), buffers: vec![] }
    }

    /// Names a buffer that the snippet reads.
    #[must_use]
    pub fn buffer(mut self, name: impl Into<String>, word: Word) -> Self {
        self.buffers.push(Buffer { name: name.into(), word });
        self
    }

    /// Fails unless the text defines what the scope requires, and declares nothing that could reach beyond it.
    pub fn check(&self, scope: &Scope) -> Result<(), SnippetError> {
        let text = self.read()?;
        for token in text.tokens.iter().filter(|token| token.is_word()) {
            let word = token.text;
            if word.starts_with(RESERVED) {
                return Err(self.error(token.at, format!("names that begin with `{RESERVED}` are reserved")));
            }
            if NOT_UNIFORM.contains(&word) || word.starts_with("subgroup") || word.starts_with("quad") {
                return Err(self.error(
                    token.at,
                    format!("`{word}` needs all lanes at once, and a mod is called for one element"),
                ));
            }
        }
        for (i, buffer) in self.buffers.iter().enumerate() {
            let named_before = self.buffers[..i].iter().any(|earlier| earlier.name == buffer.name);
            if !is_name(&buffer.name) || named_before || scope.offered.contains(&buffer.name.as_str()) {
                let message = format!("{:?} cannot be the name of a buffer, or is one already", buffer.name);
                return Err(self.error_anywhere(message));
            }
        }
        for Declared { name, at, .. } in &text.declared {
            if scope.offered.contains(name) {
                return Err(self.error(*at, format!("`{name}` is a function that tilewise offers to mods")));
            }
            if self.buffers.iter().any(|buffer| buffer.name == *name) {
                return Err(self.error(*at, format!("`{name}` is the name of a buffer")));
            }
        }
        for function in scope.required {
            if !self.defines_as(&text, function)? {
                return Err(self.error_anywhere(format!("`{function}` is missing")));
            }
        }
        scope.optional.iter().try_for_each(|function| self.defines_as(&text, function).map(drop))
    }

    /// Whether the text declares a function of that name.
    pub fn defines(&self, function: &Function) -> bool {
        self.read().is_ok_and(|text| text.function(function.name).is_some())
    }

    /// Whether the body of a function mentions its parameter of that number. Where it does not, the result cannot
    /// depend on it.
    pub fn depends_on(&self, function: &Function, parameter: usize) -> bool {
        self.read().is_ok_and(|text| {
            let Some(declared) = text.function(function.name) else { return false };
            let Some(name) = declared.parameters.get(parameter).and_then(|tokens| tokens.first()) else {
                return true;
            };
            text.tokens[declared.body.clone()].iter().any(|token| token.text == *name)
        })
    }

    /// A module in which the snippet stands alone, on its own lines, before the names that it may use.
    pub fn alone(&self, scope: &Scope) -> String {
        let mut module = format!("{}\n", self.source);
        for buffer in &self.buffers {
            let Buffer { name, word } = buffer;
            let _ = writeln!(module, "fn {name}(index: u32) -> {word} {{ return {word}(); }}");
        }
        for name in scope.offered {
            let _ = writeln!(module, "fn {name}(index: u32) -> u32 {{ return index; }}");
        }
        module
    }

    /// The error that a shader compiler reports of [`alone`](Self::alone), and the line that it names first.
    pub fn compile_error(&self, line: Option<usize>, message: &str) -> SnippetError {
        let line = pointed_line(message).or(line);
        let text = line.and_then(|line| Some((line, self.source.lines().nth(line.checked_sub(1)?)?)));
        SnippetError {
            snippet: self.name.clone(),
            line: text.map(|(line, _)| line),
            text: text.map(|(_, text)| text.to_owned()).unwrap_or_default(),
            message: message.trim().to_owned(),
        }
    }

    /// The text for a linked shader: comments blanked, lines indented, and `prefix` before each declared name.
    fn linked(&self, prefix: &str) -> Result<String, SnippetError> {
        let text = self.read()?;
        let mut linked = format!("// {}.wgsl\n    ", self.name.replace(char::is_control, " "));
        let mut after = 0;
        for (i, token) in text.tokens.iter().enumerate() {
            // What lies between tokens is white space and comments.
            push_blank(&mut linked, &self.source[after..token.at]);
            after = token.at + token.text.len();
            if text.names_declared(i) {
                let _ = write!(linked, "{prefix}{}", token.text);
            } else if let Some(buffer) = self.buffers.iter().find(|b| text.is_global(i, &b.name)) {
                linked.push_str(&buffer.reader().function);
            } else {
                linked.push_str(token.text);
            }
        }
        linked.push('\n');
        Ok(linked)
    }

    /// Whether nothing in the text could read past the end of anything, or go on for ever: it indexes nothing and has
    /// no loops. Buffers are read by functions that keep within them.
    fn is_straight(&self) -> bool {
        self.read().is_ok_and(|text| {
            !text.tokens.iter().any(|token| matches!(token.text, "[" | "loop" | "for" | "while"))
        })
    }

    fn defines_as(&self, text: &Text<'_>, function: &Function) -> Result<bool, SnippetError> {
        let Some(declared) = text.function(function.name) else { return Ok(false) };
        let found: Vec<_> =
            declared.parameters.iter().map(|tokens| tokens[1.min(tokens.len())..].concat()).collect();
        let expected: Vec<_> = function.parameters.iter().map(|kind| format!(":{kind}")).collect();
        if found != expected || declared.result != format!("->{}", function.result) {
            return Err(self.error(declared.at, format!("its types must be those of `{function}`")));
        }
        Ok(true)
    }

    fn read(&self) -> Result<Text<'_>, SnippetError> {
        Text::read(&self.source).map_err(|(at, message)| self.error(at, message))
    }

    fn error(&self, at: usize, message: String) -> SnippetError {
        let line = self.source[..at].matches('\n').count() + 1;
        let text = self.source.lines().nth(line - 1).unwrap_or_default().to_owned();
        SnippetError { snippet: self.name.clone(), line: Some(line), text, message }
    }

    fn error_anywhere(&self, message: String) -> SnippetError {
        SnippetError { snippet: self.name.clone(), line: None, text: String::new(), message }
    }
}

/// Snippets as the linker takes them: a text with bindings numbered from 0, as in a file.
#[derive(Clone, Debug, Default)]
pub struct Linked {
    /// The text.
    pub text: String,
    /// The driver's checks that it needs.
    pub checks: Checks,
}

impl Linked {
    /// Links snippets, each under a name of its own (see [`name`](Self::name)), and what reads their buffers.
    pub fn new<'a>(
        snippets: impl IntoIterator<Item = (String, &'a Snippet)>,
        readers: &[Reader],
        bound: Bound,
    ) -> Result<Self, SnippetError> {
        let mut linked = Self { text: bound.declarations(readers), ..Self::default() };
        for (of, snippet) in snippets {
            linked.text += &snippet.linked(&Self::name(&of, ""))?;
            let checks = if snippet.is_straight() { Checks::Divisions } else { Checks::All };
            linked.checks = linked.checks.max(checks);
        }
        Ok(linked)
    }

    /// What a name that a snippet declares becomes in the linked text.
    pub fn name(of: &str, declared: &str) -> String {
        format!("{RESERVED}_{of}_{declared}")
    }
}

/// The line of a module that naga's picture of it points at. Where a function is at fault, naga names its first line, and
/// what is wrong within it in the picture alone.
fn pointed_line(message: &str) -> Option<usize> {
    let rows = message.lines().zip(message.lines().skip(1));
    let (row, _) = rows.into_iter().find(|(_, below)| {
        let marks = below.trim_start().strip_prefix('│').map(str::trim_start);
        marks.is_some_and(|marks| marks.trim_start_matches(['│', ' ']).starts_with('^'))
    })?;
    row.split_once('│')?.0.trim().parse().ok()
}

/// White space as it is, and comments as white space.
fn push_blank(text: &mut String, between: &str) {
    for part in between.split_inclusive('\n') {
        let blank = if part.is_empty() || part == "\n" { "" } else { " " };
        text.push_str(blank);
        if part.ends_with('\n') {
            text.push_str("\n    ");
        }
    }
}

/// Whether WGSL would take it for an identifier, as far as its letters go.
fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// A word, a number or a symbol.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    at: usize,
    text: &'a str,
}

impl Token<'_> {
    fn is_word(&self) -> bool {
        self.text.starts_with(is_letter)
    }
}

/// Beyond ASCII whatever is not blank counts: outside comments WGSL has no other use for it.
fn is_letter(letter: char) -> bool {
    let beyond = !letter.is_ascii() && !letter.is_whitespace();
    letter.is_ascii_alphabetic() || letter == '_' || beyond
}

/// A declaration at module scope.
#[derive(Clone, Debug)]
struct Declared<'a> {
    name: &'a str,
    at: usize,
    /// `fn`, `const`, `struct` or `alias`.
    keyword: &'a str,
    /// A function's parameters, each as its tokens.
    parameters: Vec<Vec<&'a str>>,
    /// What stands between a function's parameters and its body.
    result: String,
    /// The tokens of a function's or a structure's body.
    body: std::ops::Range<usize>,
}

/// A snippet's text, read.
#[derive(Debug)]
struct Text<'a> {
    tokens: Vec<Token<'a>>,
    declared: Vec<Declared<'a>>,
}

/// Where a text cannot be read, and why.
type Fault = (usize, String);

impl<'a> Text<'a> {
    fn read(source: &'a str) -> Result<Self, Fault> {
        let tokens = tokens(source)?;
        let closing = closing(&tokens)?;
        let declared = declarations(&tokens, &closing)?;
        Ok(Self { tokens, declared })
    }

    fn function(&self, name: &str) -> Option<&Declared<'a>> {
        self.declared.iter().find(|declared| declared.keyword == "fn" && declared.name == name)
    }

    /// Whether the token stands for a name declared at module scope.
    fn names_declared(&self, i: usize) -> bool {
        self.declared.iter().any(|declared| self.is_global(i, declared.name))
    }

    /// Whether the token is this name, and not the member of a structure or of a vector that is called alike.
    fn is_global(&self, i: usize, name: &str) -> bool {
        self.tokens[i].text == name && !self.is_member(i)
    }

    fn is_member(&self, i: usize) -> bool {
        let is =
            |at: Option<usize>, text| at.and_then(|at| self.tokens.get(at)).is_some_and(|t| t.text == text);
        let within_struct = self.declared.iter().any(|d| d.keyword == "struct" && d.body.contains(&i));
        is(i.checked_sub(1), ".") || within_struct && is(Some(i + 1), ":")
    }
}

fn tokens(source: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(letter) = source[at..].chars().next() {
        let rest = &source[at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment_length(rest).ok_or_else(|| (at, "`/*` is never closed".to_owned()))?
        } else if letter.is_whitespace() {
            letter.len_utf8()
        } else {
            let length = if is_letter(letter) {
                rest.find(|c: char| !is_letter(c) && !c.is_ascii_digit()).unwrap_or(rest.len())
            } else if letter.is_ascii_digit() {
                number_length(rest)
            } else {
                letter.len_utf8()
            };
            tokens.push(Token { at, text: &rest[..length] });
            length
        };
        at += length;
    }
    Ok(tokens)
}

/// The length of a block comment, which may hold others.
fn comment_length(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let step = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The length of a number with its suffix and its exponent, whose sign belongs to it.
fn number_length(text: &str) -> usize {
    let exponents: &[u8] = if text.starts_with("0x") || text.starts_with("0X") { b"pP" } else { b"eE" };
    let bytes = text.as_bytes();
    let within = |at: usize| {
        let sign = matches!(bytes[at], b'+' | b'-') && exponents.contains(&bytes[at - 1]);
        sign || bytes[at].is_ascii_alphanumeric() || bytes[at] == b'.'
    };
    (1..bytes.len()).find(|&at| !within(at)).unwrap_or(bytes.len())
}

/// For each opening bracket the token that closes it, and 0 for any other token.
fn closing(tokens: &[Token<'_>]) -> Result<Vec<usize>, Fault> {
    let mut closing = vec![0; tokens.len()];
    let mut open = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let opener = match token.text {
            "(" | "[" | "{" => {
                open.push(i);
                continue;
            }
            ")" => "(",
            "]" => "[",
            "}" => "{",
            _ => continue,
        };
        match open.pop() {
            Some(start) if tokens[start].text == opener => closing[start] = i,
            _ => return Err((token.at, format!("`{}` closes nothing", token.text))),
        }
    }
    match open.last() {
        Some(&i) => Err((tokens[i].at, format!("`{}` is never closed", tokens[i].text))),
        None => Ok(closing),
    }
}

fn declarations<'a>(tokens: &[Token<'a>], closing: &[usize]) -> Result<Vec<Declared<'a>>, Fault> {
    let mut declared = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let Token { at, text: keyword } = tokens[i];
        let fault = |message: String| Err((at, message));
        match keyword {
            ";" => i += 1,
            "const_assert" => i = semicolon(tokens, i)? + 1,
            "fn" | "struct" | "const" | "alias" => {
                let Some(name) = tokens.get(i + 1).filter(|token| token.is_word()) else {
                    return fault(format!("`{keyword}` without a name"));
                };
                let mut item = Declared {
                    name: name.text,
                    at,
                    keyword,
                    parameters: vec![],
                    result: String::new(),
                    body: 0..0,
                };
                if matches!(keyword, "const" | "alias") {
                    i = semicolon(tokens, i)? + 1;
                } else {
                    let Some(body) = (i..tokens.len()).find(|&n| tokens[n].text == "{") else {
                        return fault(format!("`{keyword} {}` has no body", name.text));
                    };
                    if keyword == "fn" && tokens[i + 2].text == "(" {
                        let last = closing[i + 2];
                        item.parameters = parameters(&tokens[i + 3..last]);
                        item.result = tokens[(last + 1).min(body)..body].iter().map(|t| t.text).collect();
                    }
                    item.body = body + 1..closing[body];
                    i = closing[body] + 1;
                }
                declared.push(item);
            }
            "var" | "override" => {
                return fault(format!(
                    "a snippet declares no `{keyword}` outside functions: values come as arguments, tables from buffers"
                ));
            }
            "@" => {
                return fault(
                    "a snippet declares no attributes: entry points and bindings are the kernel's".into(),
                );
            }
            "enable" | "requires" | "diagnostic" => {
                return fault(format!("a snippet holds no directives such as `{keyword}`"));
            }
            _ => return fault(format!("expected `fn`, `const`, `struct` or `alias`, found `{keyword}`")),
        }
    }
    Ok(declared)
}

fn semicolon(tokens: &[Token<'_>], from: usize) -> Result<usize, Fault> {
    let found = (from..tokens.len()).find(|&i| tokens[i].text == ";");
    found.ok_or_else(|| (tokens[from].at, format!("`{}` without a semicolon", tokens[from].text)))
}

fn parameters<'a>(tokens: &[Token<'a>]) -> Vec<Vec<&'a str>> {
    let parts = tokens.split(|token| token.text == ",");
    parts
        .map(|part| part.iter().map(|t| t.text).collect::<Vec<_>>())
        .filter(|part| !part.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Function = Function { name: "scale", parameters: &["f32", "u32"], result: "f32" };
    const BACK: Function = Function { name: "back", parameters: &["f32"], result: "f32" };
    const SCOPE: Scope = Scope { required: &[SCALE], optional: &[BACK], offered: &["width"] };

    fn snippet(source: &str) -> Snippet {
        Snippet::new("doubling", source).buffer("table", Word::U32)
    }

    const GOOD: &str = "
        // } not closed
        struct Pair { twice: f32, b: f32, } /* { /* nested */ */
        const two = 2.0e+0; alias Real = f32;
        fn twice(x: Real) -> f32 { return x * two; }
        fn scale(score: f32, j: u32) -> f32 {
            let pair = Pair(twice(score), 1.0);
            return pair.twice + f32(table(j) + width(j)) * 1e-3;
        }
    ";

    #[test]
    fn a_snippet_is_linked_under_its_prefix() {
        let snippet = snippet(GOOD);
        snippet.check(&SCOPE).unwrap();
        let readers: Vec<_> = snippet.buffers.iter().map(Buffer::reader).collect();
        let linked = |bound| Linked::new([("a".to_owned(), &snippet)], &readers, bound).unwrap();
        let together = linked(Bound::Together { name: "all", declared: false }).text;
        let linked = linked(Bound::Singly);
        assert_eq!(linked.checks, Checks::Divisions);
        let text = linked.text;
        for expected in [
            "@group(0) @binding(0) var<storage, read> tilewise_buffer_table_words: array<u32>;",
            "struct tilewise_a_Pair { twice: f32, b: f32, }",
            "const tilewise_a_two = 2.0e+0; alias tilewise_a_Real = f32;",
            "fn tilewise_a_twice(x: tilewise_a_Real) -> f32 { return x * tilewise_a_two; }",
            "fn tilewise_a_scale(score: f32, j: u32) -> f32 {",
            "tilewise_a_Pair(tilewise_a_twice(score), 1.0)",
            "return pair.twice + f32(tilewise_buffer_table(j) + width(j)) * 1e-3;",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
        assert!(!text.contains("nested") && !text.contains("not closed"), "comments are blanked:\n{text}");
        let offered = "fn width(index: u32) -> u32 { return index; }";
        naga::front::wgsl::parse_str(&(text + offered)).expect("the linked text is WGSL");
        naga::front::wgsl::parse_str(&(together + offered))
            .expect("and so it is with buffers bound together");
        naga::front::wgsl::parse_str(&snippet.alone(&SCOPE)).expect("and so is the snippet alone");
    }

    #[test]
    fn dependence_and_straightness_are_read_off_the_text() {
        let snippet = snippet("fn scale(score: f32, j: u32) -> f32 { return 2.0 * score; }");
        assert!(snippet.depends_on(&SCALE, 0) && !snippet.depends_on(&SCALE, 1));
        assert!(snippet.defines(&SCALE) && !snippet.defines(&BACK));
        let looping = Snippet::new("loop", "fn scale(s: f32, j: u32) -> f32 { loop { break; } return s; }");
        assert!(!looping.is_straight());
    }

    #[test]
    fn snippets_that_break_out_are_refused_by_line() {
        let body = "fn scale(s: f32, j: u32) -> f32 { return s; }";
        for (source, line, message) in [
            ("fn scale(s: f32, j: u32) -> f32 {\n return s; }\n}", Some(3), "`}` closes nothing"),
            ("fn scale(s: f32, j: u32) -> f32 {\n return (s; }", Some(2), "`}` closes nothing"),
            ("fn scale(s: f32, j: u32) -> f32 {\n return s;", Some(1), "`{` is never closed"),
            (&format!("{body}\n/* }} "), Some(2), "`/*` is never closed"),
            (&format!("{body}\nvar<private> x: f32;"), Some(2), "declares no `var`"),
            (&format!("{body}\noverride x: f32;"), Some(2), "declares no `override`"),
            (&format!("{body}\n@compute @workgroup_size(1) fn f() {{}}"), Some(2), "no attributes"),
            (&format!("{body}\n@group(0) @binding(0) var<storage> q: f32;"), Some(2), "no attributes"),
            (&format!("enable f16;\n{body}"), Some(1), "no directives"),
            (&format!("{body}\nlet x = 1;"), Some(2), "found `let`"),
            (&format!("{body}\nfn"), Some(2), "without a name"),
            (&format!("{body}\nfn f()"), Some(2), "has no body"),
            (&format!("{body}\nconst x = 1"), Some(2), "without a semicolon"),
            (&format!("{body}\nfn table(i: u32) -> u32 {{ return i; }}"), Some(2), "name of a buffer"),
            (&format!("{body}\n\nconst width = 4u;"), Some(3), "offers to mods"),
            ("fn scale(s: f32, j: i32) -> f32 { return s; }", Some(1), "`fn scale(f32, u32) -> f32`"),
            ("fn scale(s: f32, j: u32) { }", Some(1), "`fn scale(f32, u32) -> f32`"),
            ("fn scale() -> f32 { return 0.0; }", Some(1), "`fn scale(f32, u32) -> f32`"),
            (&format!("{body}\nfn back(x: u32) -> f32 {{ return 0.0; }}"), Some(2), "`fn back(f32) -> f32`"),
            ("fn scales(s: f32, j: u32) -> f32 { return s; }", None, "is missing"),
            ("", None, "is missing"),
            ("fn scale(s: f32, j: u32) -> f32 {\n workgroupBarrier(); return s; }", Some(2), "all lanes"),
            ("fn scale(s: f32, j: u32) -> f32 {\n return subgroupAdd(s); }", Some(2), "all lanes"),
            ("fn scale(s: f32, j: u32) -> f32 {\n let tilewise_x = s; return s; }", Some(2), "reserved"),
        ] {
            let error = snippet(source).check(&SCOPE).expect_err(source);
            assert_eq!(error.line, line, "{error}\n{source}");
            assert!(error.message.contains(message), "{error}\n{source}");
        }
        for name in ["", "2x", "a-b", "width", "table", "__x"] {
            let error = snippet(body).buffer(name, Word::F32).check(&SCOPE).expect_err(name);
            assert!(error.to_string().contains("name of a buffer"), "{error}");
        }
    }
}
