//! Text that is safe to show: nothing that moves the cursor, turns the writing direction, or starts a new header.

/// How many characters a subject, and any other line, may have.
const SUBJECT: usize = 200;
const LINE: usize = 4_000;

/// A subject: one line, cut.
#[must_use]
pub fn subject(text: &str) -> String {
    cut(text, SUBJECT)
}

/// One line: control characters (line breaks included) become spaces, writing-direction overrides vanish.
#[must_use]
pub fn line(text: &str) -> String {
    cut(text, LINE)
}

fn cut(text: &str, longest: usize) -> String {
    let mut line: String = text.chars().filter(|c| !is_invisible(*c)).map(|c| if breaks(c) { ' ' } else { c }).collect();
    if let Some((cut, _)) = line.char_indices().nth(longest) {
        line.truncate(cut);
        line.push('…');
    }
    line.trim().to_owned()
}

/// A text of at most so many characters. What is too much goes line by line from before the last one, which says by which rule and from
/// which event it is.
#[must_use]
pub fn within(longest: usize, text: String) -> String {
    let Some((cut, _)) = text.char_indices().nth(longest) else { return text };
    let (head, foot) = text.trim_end().rsplit_once('\n').unwrap_or((&text, ""));
    let foot_length = foot.chars().count();
    if foot.is_empty() || foot_length > longest / 2 {
        return format!("{}…", &text[..cut]);
    }
    let room = longest - foot_length - 3;
    let end = head.char_indices().nth(room).map_or(head.len(), |(at, _)| at);
    let end = head[..end].rfind('\n').unwrap_or(end);
    format!("{}\n…\n{foot}", &head[..end])
}

/// Running text: line breaks and tabs stay.
#[must_use]
pub fn block(text: &str) -> String {
    text.chars().filter(|c| !is_invisible(*c)).map(|c| if breaks(c) && !matches!(c, '\n' | '\t') { ' ' } else { c }).collect()
}

fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Zero-width characters, marks and overrides of the writing direction.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{061C}')
}

/// Slack reads `&`, `<` and `>`; so no mention and no link can come out of data.
#[must_use]
pub fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_no_line_breaks_and_no_direction_overrides() {
        assert_eq!(line("a\r\nBcc: x@example.com\u{202e}gpj.exe\0\u{2028}b"), "a  Bcc: x@example.comgpj.exe  b");
        assert_eq!(line(&"x".repeat(1_000_000)).chars().count(), LINE + 1);
        assert_eq!(subject(&"x".repeat(1_000_000)).chars().count(), SUBJECT + 1);
    }

    #[test]
    fn slack_text_can_neither_mention_nor_link() {
        assert_eq!(slack("<!channel> <https://evil|bank.de> &"), "&lt;!channel&gt; &lt;https://evil|bank.de&gt; &amp;");
    }
}
