//! Canonical text of an expression, as Prometheus prints it. Parsing the text gives the same tree again, spans apart.

use std::fmt::{self, Display, Formatter, Write};

use timberline_engine::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Cardinality, Duration, DurationExpr, Edges, Expr,
    FillValues, Grouping, MatrixSelector, NumberLiteral, StringLiteral, Subquery, VectorMatching,
    VectorSelector,
};
use crate::deep::on_enough_stack;
use crate::parser::{format_duration, is_bare_grouping_label, is_bare_matcher_label, is_bare_metric_name};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        on_enough_stack(|| self.write(f))
    }
}

impl Expr {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write_number(f, number),
            Self::String(string) => f.write_str(&quoted_literal(string)),
            Self::Selector(selector) => {
                write_series(f, selector)?;
                write_edges(f, selector.edges)?;
                write_modifiers(f, selector.at, &selector.offset)
            }
            Self::Matrix(matrix) => write_matrix(f, matrix),
            Self::Subquery(subquery) => write_subquery(f, subquery),
            Self::Unary(unary) => {
                f.write_char(if unary.negative { '-' } else { '+' })?;
                write!(f, "{}", unary.expr)
            }
            Self::Binary(binary) => write_binary(f, binary),
            Self::Aggregate(aggregate) => write_aggregate(f, aggregate),
            Self::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                write_list(f, &call.args, |f, arg| write!(f, "{arg}"))?;
                f.write_char(')')
            }
            Self::Paren(paren) => write!(f, "({})", paren.expr),
        }
    }
}

impl BinaryOp {
    /// The operator as PromQL writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eql => "==",
            Self::Neq => "!=",
            Self::Gtr => ">",
            Self::Lss => "<",
            Self::Gte => ">=",
            Self::Lte => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }
}

impl Display for BinaryOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AggregateOp {
    /// All aggregations.
    pub const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::Topk,
        Self::Bottomk,
        Self::CountValues,
        Self::Quantile,
        Self::Limitk,
        Self::LimitRatio,
    ];

    /// The aggregation as PromQL writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether the aggregation takes a parameter before the vector.
    #[must_use]
    pub fn has_param(self) -> bool {
        matches!(
            self,
            Self::Topk | Self::Bottomk | Self::CountValues | Self::Quantile | Self::Limitk | Self::LimitRatio
        )
    }
}

impl Display for AggregateOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn write_list<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    mut write_item: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_item(f, item)?;
    }
    Ok(())
}

fn write_number(f: &mut Formatter<'_>, number: &NumberLiteral) -> fmt::Result {
    let value = number.value;
    if number.is_duration {
        let sign = if value.is_sign_negative() { "-" } else { "" };
        return write!(f, "{sign}{}", format_duration((value.abs() * 1000.0).round() as i64));
    }
    write!(f, "{}", Float(value))
}

/// A number as PromQL reads it.
struct Float(f64);

impl Display for Float {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value}"),
        }
    }
}

/// The name and the matchers.
fn write_series(f: &mut Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref();
    let is_name = |matcher: &Matcher| {
        matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && Some(matcher.value()) == name
    };
    let bare_name = name.filter(|name| is_bare_metric_name(name));
    let quoted_name = name.filter(|_| bare_name.is_none());
    let mut items: Vec<String> = selector
        .matchers
        .iter()
        .filter(|matcher| !is_name(matcher))
        .map(|matcher| {
            let label = Label(matcher.name(), is_bare_matcher_label(matcher.name()));
            format!("{label}{}{}", matcher.op().as_str(), Quoted(matcher.value()))
        })
        .collect();
    // The order of matchers means nothing.
    items.sort_unstable();
    if let Some(name) = quoted_name {
        items.insert(0, Quoted(name).to_string());
    }
    f.write_str(bare_name.unwrap_or_default())?;
    if bare_name.is_some() && items.is_empty() {
        return Ok(());
    }
    write!(f, "{{{}}}", items.join(","))
}

/// A label's name, in quotes unless it is bare.
struct Label<'a>(&'a str, bool);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.1 { f.write_str(self.0) } else { write!(f, "{}", Quoted(self.0)) }
    }
}

fn write_labels(f: &mut Formatter<'_>, labels: &[String]) -> fmt::Result {
    f.write_char('(')?;
    write_list(f, labels, |f, label| write!(f, "{}", Label(label, is_bare_grouping_label(label))))?;
    f.write_char(')')
}

impl Display for Edges {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "",
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        })
    }
}

fn write_edges(f: &mut Formatter<'_>, edges: Edges) -> fmt::Result {
    if edges == Edges::Exact { Ok(()) } else { write!(f, " {edges}") }
}

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Millis(ms) => f.write_str(&format_duration(*ms)),
            Self::Expr(expr) => write!(f, "{expr}"),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write_number(f, number),
            Self::Step(_) => f.write_str("step()"),
            Self::Range(_) => f.write_str("range()"),
            Self::Unary { negative, expr, .. } => write!(f, "{}{expr}", if *negative { '-' } else { '+' }),
            Self::Binary { op, lhs, rhs, .. } => match &**lhs {
                // A sign binds looser than `^`.
                Self::Number(number) if *op == BinaryOp::Pow && number.value.is_sign_negative() => {
                    write!(f, "({lhs}) {op} {rhs}")
                }
                _ => write!(f, "{lhs} {op} {rhs}"),
            },
            Self::Extreme { largest, lhs, rhs, .. } => {
                write!(f, "{}({lhs}, {rhs})", if *largest { "max_of" } else { "min_of" })
            }
            Self::Paren { expr, .. } => write!(f, "({expr})"),
        }
    }
}

fn write_modifiers(f: &mut Formatter<'_>, at: Option<At>, offset: &Duration) -> fmt::Result {
    match at {
        None => {}
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        Some(At::Time(ms)) => {
            let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
            write!(f, " @ {sign}{}.{:03}", ms / 1000, ms % 1000)?;
        }
    }
    if *offset != Duration::ZERO {
        write!(f, " offset {offset}")?;
    }
    Ok(())
}

fn write_matrix(f: &mut Formatter<'_>, matrix: &MatrixSelector) -> fmt::Result {
    write_series(f, &matrix.selector)?;
    write!(f, "[{}]", matrix.range)?;
    write_edges(f, matrix.selector.edges)?;
    write_modifiers(f, matrix.selector.at, &matrix.selector.offset)
}

fn write_subquery(f: &mut Formatter<'_>, subquery: &Subquery) -> fmt::Result {
    write!(f, "{}{}", subquery.expr, SubquerySuffix(subquery))
}

/// What stands behind the expression of a subquery.
pub(crate) struct SubquerySuffix<'a>(pub(crate) &'a Subquery);

impl Display for SubquerySuffix<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let subquery = self.0;
        write!(f, "[{}:", subquery.range)?;
        if let Some(step) = &subquery.step {
            write!(f, "{step}")?;
        }
        f.write_char(']')?;
        write_modifiers(f, subquery.at, &subquery.offset)
    }
}

fn write_binary(f: &mut Formatter<'_>, binary: &Binary) -> fmt::Result {
    let (first, chain) = binary.chain();
    write_first(f, first, chain.first().copied())?;
    chain.into_iter().try_for_each(|link| write_link(f, link))
}

/// The first operand of a chain, of which `link` is the first operator. `+Inf ^ 2` is `+(Inf ^ 2)`: a sign binds looser than `^`.
fn write_first(f: &mut impl Write, first: &Expr, link: Option<&Binary>) -> fmt::Result {
    if link.is_some_and(is_infinite_base) { f.write_str("Inf") } else { write!(f, "{first}") }
}

fn write_link(f: &mut impl Write, link: &Binary) -> fmt::Result {
    write!(f, " {} {}", Operator(link), link.rhs)
}

/// Whether the left side must be written without its sign.
pub(crate) fn is_infinite_base(binary: &Binary) -> bool {
    binary.op == BinaryOp::Pow
        && matches!(&*binary.lhs, Expr::Number(number) if number.value == f64::INFINITY)
}

/// The texts of the chain that ends with `binary` up to its first operator, up to its second and so on, as long as they have at most
/// `bytes_max` bytes.
pub(crate) fn short_beginnings(binary: &Binary, bytes_max: usize) -> Vec<String> {
    let (first, chain) = binary.chain();
    let mut short = Short { text: String::new(), bytes_max };
    let mut texts = Vec::new();
    if write_first(&mut short, first, chain.first().copied()).is_ok() {
        for link in chain {
            if write_link(&mut short, link).is_err() {
                break;
            }
            texts.push(short.text.clone());
        }
    }
    texts
}

/// An operator with its modifiers.
pub(crate) struct Operator<'a>(pub(crate) &'a Binary);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.op)?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        self.0.matching.as_ref().map_or(Ok(()), |matching| write_matching(f, matching))
    }
}

/// How vectors pair up, as it stands behind an operator.
pub(crate) struct Matching<'a>(pub(crate) &'a VectorMatching);

impl Display for Matching<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_matching(f, self.0)
    }
}

fn write_matching(f: &mut Formatter<'_>, matching: &VectorMatching) -> fmt::Result {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || group.is_some() {
        f.write_str(if matching.on { " on " } else { " ignoring " })?;
        write_labels(f, &matching.labels)?;
    }
    if let Some(group) = group {
        write!(f, " {group} ")?;
        write_labels(f, &matching.include)?;
    }
    write_fill(f, matching.fill)
}

fn write_fill(f: &mut Formatter<'_>, fill: FillValues) -> fmt::Result {
    let FillValues { left, right } = fill;
    // Compared by bits: a NaN on both sides is one NaN, and the sign of zero counts.
    if left.is_some() && left.map(f64::to_bits) == right.map(f64::to_bits) {
        return write!(f, " fill ({})", Float(left.unwrap_or_default()));
    }
    if let Some(left) = left {
        write!(f, " fill_left ({})", Float(left))?;
    }
    if let Some(right) = right {
        write!(f, " fill_right ({})", Float(right))?;
    }
    Ok(())
}

fn write_aggregate(f: &mut Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    write!(f, "{}(", AggregateHead(aggregate))?;
    if let Some(param) = &aggregate.param {
        write!(f, "{param}, ")?;
    }
    write!(f, "{})", aggregate.expr)
}

/// An aggregation up to its arguments.
pub(crate) struct AggregateHead<'a>(pub(crate) &'a Aggregate);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.op)?;
        let grouping = &self.0.grouping;
        let space = if grouping.without || !grouping.labels.is_empty() { " " } else { "" };
        write!(f, "{}{space}", GroupBy(grouping))
    }
}

/// ` by (…)` or ` without (…)`; nothing when it is one group.
pub(crate) struct GroupBy<'a>(pub(crate) &'a Grouping);

impl Display for GroupBy<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Grouping { without, labels } = self.0;
        if !without && labels.is_empty() {
            return Ok(());
        }
        f.write_str(if *without { " without " } else { " by " })?;
        write_labels(f, labels)
    }
}

/// The text of `expr`, unless it has more than `bytes_max` bytes.
pub(crate) fn short_text(expr: &Expr, bytes_max: usize) -> Option<String> {
    let mut short = Short { text: String::new(), bytes_max };
    write!(short, "{expr}").is_ok().then_some(short.text)
}

/// Text that ends with an error when it becomes long.
struct Short {
    text: String,
    bytes_max: usize,
}

impl Write for Short {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.text.len() + part.len() > self.bytes_max {
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

/// A string literal in double quotes; bytes that are not UTF-8 are escaped one by one.
pub(crate) fn quoted_literal(string: &StringLiteral) -> String {
    let Some(bytes) = &string.invalid else { return Quoted(&string.value).to_string() };
    let mut text = String::from('"');
    for chunk in bytes.utf8_chunks() {
        let quoted = Quoted(chunk.valid()).to_string();
        text.push_str(&quoted[1..quoted.len() - 1]);
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text.push('"');
    text
}

/// Displays a text in double quotes, escaped as Go's `%q` does it, which PromQL's string syntax is made after.
pub(crate) struct Quoted<T>(pub(crate) T);

impl<T: AsRef<str>> Display for Quoted<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.as_ref().chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\x07' => f.write_str("\\a")?,
                '\x08' => f.write_str("\\b")?,
                '\x0c' => f.write_str("\\f")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\x0b' => f.write_str("\\v")?,
                _ if is_printable(c) => f.write_char(c)?,
                '\0'..='\x7f' => write!(f, "\\x{:02x}", u32::from(c))?,
                '\u{80}'..='\u{ffff}' => write!(f, "\\u{:04x}", u32::from(c))?,
                _ => write!(f, "\\U{:08x}", u32::from(c))?,
            }
        }
        f.write_char('"')
    }
}

/// Whether the character is a letter, mark, number, punctuation, symbol or the space. `str::escape_debug` escapes exactly the
/// others, and the quotes and the backslash; it would also escape a mark at the beginning, hence the letter before it.
fn is_printable(c: char) -> bool {
    let mut text = String::from("a");
    text.push(c);
    c == '\'' || text.escape_debug().nth(1) == Some(c)
}
