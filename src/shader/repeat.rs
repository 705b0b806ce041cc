//! The sixth mechanism: lines for each of several cooperative matrices, or of other values that must stay in registers.
//!
//! A kernel keeps many of them, and cannot have an array of them, which cannot be written as SPIR-V. Structures joined
//! of two halves ran as fast on an H100, but took two files for each kind of matrix. So a kernel names its matrices one by
//! one. It is written for one of each kind, `output_o0` or `query_q0_r0`, and valid WGSL as it stands. A line that ends in
//! `// each o` is linked once for o0, o1 and so on, as often as the plan says, and `// each q r` once for each pair. A block
//! whose first line is `{ // each o` is repeated whole; names are single letters. The number itself is a const that the
//! kernel declares so: `const o0 = 0u; // each o`.

const MARK: &str = "// each ";

/// The text with its marked lines and blocks repeated, or the name that is marked or counted, but not both.
pub(super) fn repeated(text: &str, counts: &[(&'static str, u32)]) -> Result<String, String> {
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    for (name, _) in counts {
        if !lines.iter().filter_map(|line| marked(line)).any(|(_, names)| has(names, name)) {
            return Err((*name).to_owned());
        }
    }
    let mut out = Vec::new();
    expand(&lines, counts, &mut out)?;
    Ok(out.join("\n") + "\n")
}

/// A line's code and what it is for each of. Other comments may begin alike.
fn marked(line: &str) -> Option<(&str, &str)> {
    line.split_once(MARK).filter(|(_, names)| names.split(' ').all(|name| name.len() == 1))
}

fn has(names: &str, name: &str) -> bool {
    names.split_whitespace().any(|found| found == name)
}

fn expand(lines: &[String], counts: &[(&'static str, u32)], out: &mut Vec<String>) -> Result<(), String> {
    let mut rest = lines;
    while let Some((line, after)) = rest.split_first() {
        let Some((code, names)) = marked(line) else {
            out.push(line.clone());
            rest = after;
            continue;
        };
        let (name, more) = names.split_once(' ').unwrap_or((names, ""));
        let count = counts.iter().find(|(counted, _)| *counted == name).ok_or(name)?.1;
        let first = if more.is_empty() { code.trim_end().to_owned() } else { format!("{code}{MARK}{more}") };
        let length = if code.trim_start().starts_with('{') { block_length(line, after) } else { 0 };
        let (block, behind) = after.split_at(length);
        let unit = [&[first], block].concat();
        for number in 0..count {
            let numbered: Vec<_> = unit.iter().map(|line| numbered(line, name, number)).collect();
            expand(&numbered, counts, out)?;
        }
        rest = behind;
    }
    Ok(())
}

/// Lines of a block behind its first, up to the brace that stands below it.
fn block_length(first: &str, after: &[String]) -> usize {
    let end = format!("{}}}", &first[..first.len() - first.trim_start().len()]);
    after.iter().position(|line| *line == end).map_or(after.len(), |at| at + 1)
}

/// The line with another number in `name0`, wherever that is a word of its own or a part between underscores.
fn numbered(line: &str, name: &str, number: u32) -> String {
    let [word, other] = [0, number].map(|number| format!("{name}{number}"));
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(&word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let begins = !before.ends_with(|c: char| c.is_ascii_alphanumeric());
        let ends = !after.starts_with(|c: char| c.is_ascii_alphanumeric());
        text += before;
        text += if begins && ends { &other } else { &word };
        rest = after;
    }
    text += rest;
    if line.starts_with("const ") { text.replace("= 0u;", &format!("= {number}u;")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_blocks_are_repeated_within_one_another() {
        let text = "const o0 = 0u; // each o\nvar s_o0_r0 = f(); // each o r\n{ // each o\n    let x = go0(o0);\n    \
                    s_o0_r0 = x; // each r\n}\nlet o0 = 1;\n";
        let expected = "const o0 = 0u;\nconst o1 = 1u;\nvar s_o0_r0 = f();\nvar s_o0_r1 = f();\nvar s_o1_r0 = \
                        f();\nvar s_o1_r1 = f();\n{\n    let x = go0(o0);\n    s_o0_r0 = x;\n    s_o0_r1 = x;\n}\n{\n    \
                        let x = go0(o1);\n    s_o1_r0 = x;\n    s_o1_r1 = x;\n}\nlet o0 = 1;\n";
        assert_eq!(repeated(text, &[("o", 2), ("r", 2)]).as_deref(), Ok(expected));
    }

    #[test]
    fn names_are_marked_and_counted() {
        assert_eq!(repeated("a_o0(); // each o", &[]), Err("o".to_owned()));
        assert_eq!(repeated("a_o0();", &[("o", 2)]), Err("o".to_owned()));
    }
}
