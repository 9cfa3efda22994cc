//! What is written: Markdown, a sentence and a table at a time. Pure.

/// A page that grows, and the files that belong to it.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) text: String,
    /// Names without folder, and what is in them.
    pub(super) files: Vec<(String, String)>,
}

impl Page {
    pub(super) fn heading(&mut self, level: usize, text: &str) {
        self.text += &format!("{} {text}\n\n", "#".repeat(level));
    }

    /// A paragraph.
    pub(super) fn say(&mut self, text: impl AsRef<str>) {
        self.text += text.as_ref().trim();
        self.text += "\n\n";
    }

    /// A list.
    pub(super) fn list(&mut self, items: impl IntoIterator<Item = String>) {
        for item in items {
            self.text += &format!("- {item}\n");
        }
        self.text.push('\n');
    }

    /// Rows have a cell for each heading.
    pub(super) fn table(&mut self, headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        self.text += &format!("| {} |\n|{}\n", headings.join(" | "), "---|".repeat(headings.len()));
        for row in rows {
            let cells: Vec<String> =
                row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
            self.text += &format!("| {} |\n", cells.join(" | "));
        }
        self.text.push('\n');
    }

    /// Says why something is not there.
    pub(super) fn missing(&mut self, why: &str) {
        self.say(format!("*Not measured: {}.*", why.trim().trim_end_matches('.')));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_break_its_table() {
        let mut page = Page::default();
        page.table(&["a"], [vec!["x|y\nz".to_owned()]]);
        assert_eq!(page.text, "| a |\n|---|\n| x\\|y z |\n\n");
    }
}
