//! A first look at a team's text, before the engine reads it: where each policy begins, and whether it is small enough
//! that reading and asking it cannot take long or go too deep. The engine walks a text by recursion, so its size has to
//! be known before.

use super::lint::Fault;

/// The deepest nesting of brackets in a policy.
const DEEPEST: usize = 20;
/// The most operators in one policy: each may lie one level deeper than the one before.
const MOST_OPERATORS: usize = 100;

/// Where the policies of a text begin, as offsets in bytes, in their order.
///
/// # Errors
/// The first policy that is too deep or has too many operators.
pub(super) fn starts(text: &str) -> Result<Vec<usize>, Fault> {
    let bytes = text.as_bytes();
    let (mut starts, mut open) = (Vec::new(), None::<usize>);
    let (mut depth, mut operators, mut at) = (0_usize, 0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        match byte {
            b'/' if next == Some(b'/') => {
                at += bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let start = *open.get_or_insert(at);
        let mut width = 1;
        match byte {
            b'"' => width = quoted(&bytes[at..]),
            b';' => {
                starts.push(start);
                (open, depth, operators) = (None, 0, 0);
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'&' | b'|' if next == Some(byte) => (operators, width) = (operators + 1, 2),
            b'!' | b'.' | b'+' | b'-' | b'*' => operators += 1,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                width = word(&bytes[at..]);
                if &bytes[at..at + width] == b"if" {
                    operators += 1;
                }
            }
            _ => {}
        }
        if depth > DEEPEST {
            let told = format!("brackets nest deeper than {DEEPEST} levels; split the policy into several");
            return Err(Fault::at(text, at, None, told));
        }
        if operators > MOST_OPERATORS {
            let told = format!(
                "more than {MOST_OPERATORS} operators in one policy; split it into several, or compare with a set: \
                 [\"a\", \"b\"].contains(…)"
            );
            return Err(Fault::at(text, at, None, told));
        }
        at += width;
    }
    starts.extend(open);
    Ok(starts)
}

/// The bytes that a text in quotes takes, quotes and all.
fn quoted(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn word(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_found_past_comments_and_quotes() {
        let text = "// a; b\n@id(\"x;\\\"\")\npermit (principal, action, resource);\n forbid (principal, action, \
                    resource)";
        let starts = starts(text).unwrap();
        assert_eq!(starts.len(), 2);
        assert!(text[starts[0]..].starts_with("@id") && text[starts[1]..].starts_with("forbid"));
        assert!(super::starts("// nothing").unwrap().is_empty());
        assert!(super::starts("\"").is_ok() && super::starts("\"\\").is_ok() && super::starts("/").is_ok());
    }

    #[test]
    fn what_is_too_deep_or_too_long_is_told_with_its_place() {
        let deep = format!("permit (principal, action, resource) when\n{}", "(".repeat(30));
        let fault = starts(&deep).unwrap_err();
        assert_eq!((fault.line, fault.column), (2, 21));
        let chain =
            format!("permit (principal, action, resource) when {{ true{} }};", " && true".repeat(101));
        assert!(starts(&chain).unwrap_err().detail.contains("100 operators"));
        let chain =
            format!("permit (principal, action, resource) when {{ true{} }};", " && true".repeat(100));
        assert!(starts(&chain).is_ok());
    }
}
