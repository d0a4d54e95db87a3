//! The syntax tree of a PromQL expression, as the parser builds it and the planner reads it.
//!
//! Nodes carry the byte span of the source text they came from, so that errors and annotations can
//! point at it. Durations are milliseconds, as in Prometheus; times are milliseconds since the epoch.

use timberline_engine::Matcher;

use crate::deep::Deep;

/// A half-open byte range of the query text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// The type of value an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// One float per step.
    Scalar,
    /// Series with one sample per step.
    Vector,
    /// Series with a window of samples per step.
    Matrix,
    /// A string constant.
    String,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `12.34`, `0x1f`, `Inf`, `5m` (durations are numbers of seconds).
    Number(NumberLiteral),
    /// `"text"`.
    String(StringLiteral),
    /// `metric{label="value"} offset 5m @ end()`.
    Selector(VectorSelector),
    /// `metric[5m]`.
    Matrix(MatrixSelector),
    /// `expr[1h:5m]`.
    Subquery(Subquery),
    /// `-expr`, `+expr`.
    Unary(Unary),
    /// `lhs op rhs`.
    Binary(Binary),
    /// `sum by (label) (expr)`.
    Aggregate(Aggregate),
    /// `rate(expr)`.
    Call(Call),
    /// `(expr)`.
    Paren(Paren),
}

/// A number, and how it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberLiteral {
    /// The value; a duration's value is in seconds.
    pub value: f64,
    /// Whether the source wrote a duration (`5m`), so that printing gives it back.
    pub is_duration: bool,
    /// Where it stands.
    pub span: Span,
}

/// A string constant, unescaped.
#[derive(Clone, Debug, PartialEq)]
pub struct StringLiteral {
    /// The unescaped text, with replacement characters where it is not UTF-8.
    pub value: String,
    /// The bytes that the escapes spell when they are not UTF-8. No label can be called that.
    pub invalid: Option<Vec<u8>>,
    /// Where it stands.
    pub span: Span,
}

/// A duration of a selector or a subquery.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// `5m`: known from the text, milliseconds.
    Millis(i64),
    /// `5m * 2`, `step()`: known once the query's step and range are.
    Expr(Box<DurationExpr>),
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self::Millis(0);
}

/// Arithmetic of durations. Each value is a number of seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// `5m`, `300`, with its sign.
    Number(NumberLiteral),
    /// `step()`: the query's step, 0 for an instant query.
    Step(Span),
    /// `range()`: from the query's first to its last time, 0 for an instant query.
    Range(Span),
    /// `-expr`, `+expr`.
    Unary {
        /// Whether the operator is `-` (else `+`).
        negative: bool,
        /// The operand.
        expr: Box<Self>,
        /// Where it stands.
        span: Span,
    },
    /// `lhs op rhs`, where the operator is arithmetic.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        lhs: Box<Self>,
        /// Right operand.
        rhs: Box<Self>,
        /// Where it stands.
        span: Span,
    },
    /// `min_of(a, b)`, `max_of(a, b)`.
    Extreme {
        /// Whether it is the larger of the two (else the smaller).
        largest: bool,
        /// First argument.
        lhs: Box<Self>,
        /// Second argument.
        rhs: Box<Self>,
        /// Where it stands.
        span: Span,
    },
    /// `(expr)`; never around a number.
    Paren {
        /// The expression inside.
        expr: Box<Self>,
        /// Where it stands, parentheses included.
        span: Span,
    },
}

impl DurationExpr {
    /// Where the expression stands in the query text.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Number(number) => number.span,
            Self::Step(span) | Self::Range(span) => *span,
            Self::Unary { span, .. }
            | Self::Binary { span, .. }
            | Self::Extreme { span, .. }
            | Self::Paren { span, .. } => *span,
        }
    }
}

/// How a selector finds the values at the edges of its windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edges {
    /// The samples inside are all that there is.
    #[default]
    Exact,
    /// `anchored`: the newest sample at or before the window's start belongs to it.
    Anchored,
    /// `smoothed`: interpolated between the samples on both sides of an edge.
    Smoothed,
}

/// What `@` fixes the evaluation time to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`, in milliseconds since the epoch.
    Time(i64),
    /// `@ start()`: the first step of the query.
    Start,
    /// `@ end()`: the last step of the query.
    End,
}

/// An instant vector selector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name as written in front of the braces or quoted inside them; also among `matchers`.
    pub name: Option<String>,
    /// All matchers, the one for the name included.
    pub matchers: Vec<Matcher>,
    /// `offset`; negative looks into the future.
    pub offset: Duration,
    /// The `@` modifier.
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub edges: Edges,
    /// Where it stands.
    pub span: Span,
}

/// A range vector selector. Its offset and `@` are those of `selector`.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// What is selected.
    pub selector: VectorSelector,
    /// The window: `(t - range, t]`.
    pub range: Duration,
    /// Where it stands.
    pub span: Span,
}

/// A subquery.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// The instant vector expression evaluated at each inner step.
    pub expr: Deep<Expr>,
    /// The window: `(t - range, t]`.
    pub range: Duration,
    /// The inner step; `None` takes the server's default.
    pub step: Option<Duration>,
    /// `offset`; negative looks into the future.
    pub offset: Duration,
    /// The `@` modifier.
    pub at: Option<At>,
    /// Where it stands.
    pub span: Span,
}

/// A unary operator applied to a scalar or vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Whether the operator is `-` (else `+`).
    pub negative: bool,
    /// The operand.
    pub expr: Deep<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// A parenthesised expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// The expression inside.
    pub expr: Deep<Expr>,
    /// Where it stands, parentheses included.
    pub span: Span,
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eql,
    /// `!=`
    Neq,
    /// `>`
    Gtr,
    /// `<`
    Lss,
    /// `>=`
    Gte,
    /// `<=`
    Lte,
    /// `</`: cuts off what a native histogram has above a value.
    TrimUpper,
    /// `>/`: cuts off what a native histogram has below a value.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// Whether this is `==`, `!=`, `>`, `<`, `>=` or `<=`.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eql | Self::Neq | Self::Gtr | Self::Lss | Self::Gte | Self::Lte)
    }

    /// Whether this is `</` or `>/`.
    #[must_use]
    pub fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    /// Whether this is `+`, `-`, `*`, `/`, `%` or `^`.
    #[must_use]
    pub fn is_arithmetic(self) -> bool {
        matches!(self, Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Pow)
    }

    /// Whether the result is still the metric itself: some of its samples, or of their observations.
    #[must_use]
    pub fn keeps_name(self) -> bool {
        self.is_comparison() || self.is_trim()
    }

    /// Whether this is `and`, `or` or `unless`.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// How many series of each side may pair up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// One to one.
    #[default]
    OneToOne,
    /// `group_left`: many on the left, one on the right.
    ManyToOne,
    /// `group_right`: one on the left, many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// `fill(...)`, `fill_left(...)`, `fill_right(...)`: what stands for the sample that one side lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FillValues {
    /// For the left side.
    pub left: Option<f64>,
    /// For the right side.
    pub right: Option<f64>,
}

impl FillValues {
    /// Whether there is a value for one of the sides.
    #[must_use]
    pub fn any(self) -> bool {
        self.left.is_some() || self.right.is_some()
    }
}

/// `on`/`ignoring`, `group_left`/`group_right` and `fill`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorMatching {
    /// How many series pair up.
    pub cardinality: Cardinality,
    /// Whether `labels` are the ones to match `on`; else the ones to ignore.
    pub on: bool,
    /// The labels of `on(...)` or `ignoring(...)`.
    pub labels: Vec<String>,
    /// The labels of `group_left(...)` or `group_right(...)`, copied from the "one" side.
    pub include: Vec<String>,
    /// What stands for samples that a side lacks.
    pub fill: FillValues,
}

/// `lhs op rhs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// `bool`: a comparison returns 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How vectors pair up. `None` when an operand is a scalar.
    pub matching: Option<VectorMatching>,
    /// Left operand.
    pub lhs: Deep<Expr>,
    /// Right operand.
    pub rhs: Deep<Expr>,
    /// A scalar if both operands are, else a vector.
    pub value_type: ValueType,
    /// Where it stands.
    pub span: Span,
}

/// An aggregation operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

/// `by (...)` or `without (...)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// `without` instead of `by`. An aggregation with neither is `by ()`.
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// The parameter of `topk`, `bottomk`, `quantile`, `count_values`, `limitk`, `limit_ratio`.
    pub param: Option<Deep<Expr>>,
    /// The vector.
    pub expr: Deep<Expr>,
    /// The grouping.
    pub grouping: Grouping,
    /// Where it stands.
    pub span: Span,
}

/// A function call. The name is one of [`crate::signature::SIGNATURES`].
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub function: &'static crate::signature::Signature,
    /// The arguments, type-checked.
    pub args: Deep<Vec<Expr>>,
    /// Where it stands.
    pub span: Span,
}

impl Expr {
    /// Where the expression stands in the query text.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Number(e) => e.span,
            Self::String(e) => e.span,
            Self::Selector(e) => e.span,
            Self::Matrix(e) => e.span,
            Self::Subquery(e) => e.span,
            Self::Unary(e) => e.span,
            Self::Binary(e) => e.span,
            Self::Aggregate(e) => e.span,
            Self::Call(e) => e.span,
            Self::Paren(e) => e.span,
        }
    }

    /// The type the expression evaluates to.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::Selector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Call(e) => e.function.returns,
            Self::Binary(e) => e.value_type,
            Self::Unary(_) | Self::Paren(_) => self.inside().value_type(),
        }
    }

    /// The expression inside of all parentheses and behind all signs.
    fn inside(&self) -> &Self {
        let mut expr = self;
        while let Self::Unary(Unary { expr: inner, .. }) | Self::Paren(Paren { expr: inner, .. }) = expr {
            expr = inner;
        }
        expr
    }
}

impl Default for Expr {
    fn default() -> Self {
        Self::Number(NumberLiteral { value: 0.0, is_duration: false, span: Span::default() })
    }
}

impl Binary {
    /// An operator between `lhs` and `rhs`.
    #[must_use]
    pub fn new(
        op: BinaryOp,
        return_bool: bool,
        matching: Option<VectorMatching>,
        [lhs, rhs]: [Expr; 2],
        span: Span,
    ) -> Self {
        let are_scalars = lhs.value_type() == ValueType::Scalar && rhs.value_type() == ValueType::Scalar;
        let value_type = if are_scalars { ValueType::Scalar } else { ValueType::Vector };
        let (lhs, rhs) = (Deep::new(lhs), Deep::new(rhs));
        Self { op, return_bool, matching, lhs, rhs, value_type, span }
    }

    /// The operators of the chain that ends with this one, the first one first, and what that has on its left.
    /// Those of `a + b + c` are `a + b` and the whole.
    #[must_use]
    pub fn chain(&self) -> (&Expr, Vec<&Self>) {
        let (mut first, mut chain) = (&*self.lhs, vec![self]);
        while let Expr::Binary(binary) = first {
            chain.push(binary);
            first = &binary.lhs;
        }
        chain.reverse();
        (first, chain)
    }
}
