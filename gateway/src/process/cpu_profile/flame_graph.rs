//! Samples as a flame graph, an SVG that browsers show.

use inferno::flamegraph::{self, Options};

use super::sampling::Samples;

/// The graph: threads at the bottom, the functions that ran at the top.
///
/// # Errors
/// When the samples cannot be drawn.
pub(super) fn draw(samples: &Samples) -> std::io::Result<Vec<u8>> {
    let mut lines: Vec<String> = samples
        .stacks
        .iter()
        .map(|(stack, count)| {
            let functions = stack.frames.iter().rev().flat_map(|frame| frame.iter().rev());
            let names = functions.map(|symbol| name(&symbol.name()));
            let path: Vec<String> = std::iter::once(name(&stack.thread_name)).chain(names).collect();
            format!("{} {count}", path.join(";"))
        })
        .collect();
    if lines.is_empty() {
        // Without a stack there is nothing to draw.
        lines.push("no processor time was used 1".to_owned());
    }
    let mut options = Options::default();
    options.title = "Draftwire: processor time".to_owned();
    options.count_name = "samples".to_owned();
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
        .map_err(std::io::Error::other)?;
    Ok(svg)
}

/// A name without the sign that separates names.
fn name(name: &str) -> String {
    name.replace(';', ":")
}
