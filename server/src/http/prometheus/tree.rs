//! JSON of trees as deep as queries are. It is text from the beginning: a JSON value of thousands of levels could not be dropped.

use serde_json::Value;
use timberline_query::on_enough_stack;

/// What is below a node, by the name of its field.
pub(super) enum Children<'a, T> {
    One(&'a T),
    List(&'a [T]),
}

/// Appends a node: the fields of the object `own`, and then its children, which `write` appends.
pub(super) fn write_node<T>(
    text: &mut String,
    own: &Value,
    children: &[(&str, Children<'_, T>)],
    write: fn(&mut String, &T),
) {
    let own = own.to_string();
    let fields = own.strip_suffix('}').unwrap_or(&own);
    text.push_str(fields);
    let mut is_first = fields == "{";
    for (name, children) in children {
        text.push_str(if is_first { "\"" } else { ",\"" });
        is_first = false;
        text.push_str(name);
        text.push_str("\":");
        match children {
            Children::One(child) => on_enough_stack(|| write(text, child)),
            Children::List(list) => {
                for (at, child) in list.iter().enumerate() {
                    text.push(if at == 0 { '[' } else { ',' });
                    on_enough_stack(|| write(text, child));
                }
                text.push_str(if list.is_empty() { "[]" } else { "]" });
            }
        }
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Tree(Vec<Tree>);

    fn write(text: &mut String, tree: &Tree) {
        let children = match tree.0.as_slice() {
            [] => vec![],
            [one] => vec![("one", Children::One(one))],
            all => vec![("all", Children::List(all)), ("none", Children::List(&[]))],
        };
        let own = if tree.0.is_empty() { json!({}) } else { json!({"size": tree.0.len()}) };
        write_node(text, &own, &children, write);
    }

    #[test]
    fn nodes_have_their_fields_and_their_children() {
        let leaf = || Tree(Vec::new());
        let mut text = String::new();
        write(&mut text, &Tree(vec![Tree(vec![leaf()]), leaf()]));
        assert_eq!(text, r#"{"size":2,"all":[{"size":1,"one":{}},{}],"none":[]}"#);
    }
}
