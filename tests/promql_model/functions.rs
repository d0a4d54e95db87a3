//! Functions of one number, operators on numbers, and dates.

use timberline_query::ast::BinaryOp;

use crate::model::{Failure, Model, Result};

/// Go's `math.Max`: infinity wins over NaN, and NaN over the rest.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// Go's `math.Min`.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}

/// What an operator makes of two numbers, or of two values.
pub(crate) enum Operated<V = f64> {
    Number(V),
    Holds(bool),
}

impl Model<'_> {
    pub(crate) fn operate(&self, op: BinaryOp, l: f64, r: f64) -> Operated {
        use Operated::{Holds, Number};
        match op {
            BinaryOp::Add => Number(self.exact_or_rough(l + r)),
            BinaryOp::Sub => Number(self.exact_or_rough(l - r)),
            BinaryOp::Mul => Number(self.exact_or_rough(l * r)),
            BinaryOp::Div => Number(self.exact_or_rough(l / r)),
            BinaryOp::Mod => Number(self.exact_or_rough(l % r)),
            BinaryOp::Pow => Number(self.exact_or_rough(l.powf(r))),
            BinaryOp::Atan2 => Number(self.rough(l.atan2(r))),
            BinaryOp::Eql => Holds(l == r),
            BinaryOp::Neq => Holds(l != r),
            BinaryOp::Gtr => Holds(l > r),
            BinaryOp::Lss => Holds(l < r),
            BinaryOp::Gte => Holds(l >= r),
            BinaryOp::Lte => Holds(l <= r),
            _ => panic!("{op:?} is not for numbers"),
        }
    }

    pub(crate) fn number(&self, op: BinaryOp, l: f64, r: f64) -> f64 {
        match self.operate(op, l, r) {
            Operated::Number(value) => value,
            Operated::Holds(holds) => f64::from(u8::from(holds)),
        }
    }

    /// A function of one number and some parameters; `None` where it has no result.
    pub(crate) fn math(&self, name: &str, v: f64, params: &[f64]) -> Option<Option<f64>> {
        let result = match name {
            "abs" => v.abs(),
            "ceil" => v.ceil(),
            "floor" => v.floor(),
            "sgn" => match v {
                _ if v > 0.0 => 1.0,
                _ if v < 0.0 => -1.0,
                _ => v,
            },
            "sqrt" => self.exact_or_rough(v.sqrt()),
            "exp" => self.rough(v.exp()),
            "ln" => self.rough(v.ln()),
            "log2" => self.rough(v.log2()),
            "log10" => self.rough(v.log10()),
            "sin" => self.rough(v.sin()),
            "cos" => self.rough(v.cos()),
            "tan" => self.rough(v.tan()),
            "asin" => self.rough(v.asin()),
            "acos" => self.rough(v.acos()),
            "atan" => self.rough(v.atan()),
            "sinh" => self.rough(v.sinh()),
            "cosh" => self.rough(v.cosh()),
            "tanh" => self.rough(v.tanh()),
            "asinh" => self.rough(v.asinh()),
            "acosh" => self.rough(v.acosh()),
            "atanh" => self.rough(v.atanh()),
            "deg" => self.rough(v * 180.0 / std::f64::consts::PI),
            "rad" => self.rough(v * std::f64::consts::PI / 180.0),
            "clamp" if params[1] < params[0] => return Some(None),
            "clamp" => max(params[0], min(params[1], v)),
            "clamp_min" => max(params[0], v),
            "clamp_max" => min(params[0], v),
            "round" => {
                let nearest = params.first().copied().unwrap_or(1.0);
                let inverse = 1.0 / nearest;
                self.exact_or_rough((v * inverse + 0.5).floor() / inverse)
            }
            _ => return None,
        };
        Some(Some(result))
    }
}

pub(crate) fn is_date(name: &str) -> bool {
    let names =
        ["minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"];
    names.contains(&name)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: usize) -> i64 {
    [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month]
}

/// A part of the date, UTC, that `seconds` since 1970 is: counted year by year.
pub(crate) fn date(name: &str, seconds: f64) -> Result<f64> {
    if seconds.is_nan() || seconds.abs() > 1e10 {
        return Err(Failure::Unknown);
    }
    let seconds = seconds.trunc() as i64;
    let day_number = seconds.div_euclid(86_400);
    let (mut year, mut day) = (1970, day_number);
    let length = |year| if is_leap(year) { 366 } else { 365 };
    while day < 0 {
        year -= 1;
        day += length(year);
    }
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let (mut month, mut day_of_month) = (0, day);
    while day_of_month >= days_of_month(year, month) {
        day_of_month -= days_of_month(year, month);
        month += 1;
    }
    let part = match name {
        "minute" => seconds.div_euclid(60).rem_euclid(60),
        "hour" => seconds.div_euclid(3600).rem_euclid(24),
        // 1970 began on a Thursday.
        "day_of_week" => (day_number + 4).rem_euclid(7),
        "day_of_month" => day_of_month + 1,
        "day_of_year" => day + 1,
        "days_in_month" => days_of_month(year, month),
        "month" => month as i64 + 1,
        _ => year,
    };
    Ok(part as f64)
}
