//! A tree of sentences, drawn as text.

/// A line of a text tree, with the lines below it.
pub(super) struct TreeNode {
    pub(super) text: String,
    pub(super) children: Vec<TreeNode>,
}

/// Draws the lines below a line.
pub(super) fn draw(children: &[TreeNode], indent: &str, drawn: &mut Vec<String>) {
    for (index, child) in children.iter().enumerate() {
        let (branch, below) = if index + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        drawn.push(format!("{indent}{branch}{}", child.text));
        draw(&child.children, &format!("{indent}{below}"), drawn);
    }
}
