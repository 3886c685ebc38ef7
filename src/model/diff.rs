//! What is different between two texts, line by line.

/// Lines of the first text with `-` in front, of the second with `+`, of both with a space; empty for equal texts. Long
/// stretches that are the same are left out.
pub fn lines(older: &str, newer: &str) -> String {
    if older == newer {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (older.lines().collect(), newer.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (from, to) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut marked: Vec<(char, &str)> = old[..head].iter().map(|line| (' ', *line)).collect();
    marked.extend(between(from, to));
    marked.extend(old[old.len() - tail..].iter().map(|line| (' ', *line)));
    shown(&marked)
}

/// Lines of context around a change.
const AROUND: usize = 3;

fn shown(marked: &[(char, &str)]) -> String {
    let near = |at: usize| {
        let (from, to) = (at.saturating_sub(AROUND), (at + AROUND + 1).min(marked.len()));
        marked[from..to].iter().any(|(mark, _)| *mark != ' ')
    };
    let (mut text, mut skipped) = (String::new(), false);
    for (at, (mark, line)) in marked.iter().enumerate() {
        if near(at) {
            if skipped {
                text.push_str("…\n");
            }
            skipped = false;
            text.push(*mark);
            text.push_str(line);
            text.push('\n');
        } else {
            skipped = true;
        }
    }
    text
}

/// The longest common subsequence of lines, by the table. Texts of policies have a few thousand lines at the most.
fn between<'a>(from: &[&'a str], to: &[&'a str]) -> Vec<(char, &'a str)> {
    let width = to.len() + 1;
    let mut lengths = vec![0_u32; (from.len() + 1) * width];
    for i in (0..from.len()).rev() {
        for j in (0..to.len()).rev() {
            lengths[i * width + j] = if from[i] == to[j] {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut marked) = (0, 0, Vec::new());
    while i < from.len() || j < to.len() {
        if i < from.len() && j < to.len() && from[i] == to[j] {
            marked.push((' ', from[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == to.len()
            || i < from.len() && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]
        {
            marked.push(('-', from[i]));
            i += 1;
        } else {
            marked.push(('+', to[j]));
            j += 1;
        }
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn changed_lines_are_marked_and_far_ones_left_out() {
        assert_eq!(lines("a\nb\n", "a\nb\n"), "");
        assert_eq!(lines("a\nb\nc\n", "a\nx\nc\n"), " a\n-b\n+x\n c\n");
        assert_eq!(lines("", "a\n"), "+a\n");
        let long: String = (0..20).map(|n| format!("{n}\n")).collect();
        assert_eq!(lines(&long, &format!("{long}new\n")), "…\n 17\n 18\n 19\n+new\n");
    }
}
