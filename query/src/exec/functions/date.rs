//! Parts of a date. The cells are seconds since the epoch, the calendar is the proleptic Gregorian one in UTC.

use crate::exec::row::is_present;
use crate::plan::DatePart;

const SECONDS_PER_DAY: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
const DAYS_PER_ERA: i64 = 146_097;

pub(in crate::exec) fn apply_date(part: DatePart, cells: &mut [f64]) {
    for cell in cells.iter_mut().filter(|cell| is_present(**cell) && !cell.is_nan()) {
        *cell = date_part(part, *cell as i64) as f64;
    }
}

struct Date {
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
}

/// The date that is `days` after the epoch. Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2014):
/// years begin in March, so that the leap day comes last, and repeat every 400 years (an era).
fn date(days: i64) -> Date {
    let days = days + EPOCH_DAYS;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    Date { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn date_part(part: DatePart, seconds: i64) -> i64 {
    let (days, second_of_day) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    match part {
        DatePart::Hour => second_of_day / 3600,
        DatePart::Minute => second_of_day / 60 % 60,
        // The epoch was a Thursday.
        DatePart::DayOfWeek => (days + 4).rem_euclid(7),
        DatePart::DayOfMonth => date(days).day,
        DatePart::Month => date(days).month,
        DatePart::Year => date(days).year,
        DatePart::DaysInMonth => {
            let Date { year, month, .. } = date(days);
            days_in_month(year, month)
        }
        DatePart::DayOfYear => {
            let Date { year, month, day } = date(days);
            (1..month).map(|month| days_in_month(year, month)).sum::<i64>() + day
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::Weekday;
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn agrees_with_a_calendar() {
        // A prime number of seconds, so that all times of day and all dates come by.
        let times = (-60_000..60_000).map(|i: i64| i * 1_000_003);
        for seconds in times.chain([0, -1, 951_782_400, 4_107_542_400]) {
            let expected = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(TimeZone::UTC);
            let get = |part| date_part(part, seconds);
            assert_eq!(get(DatePart::Year), i64::from(expected.year()));
            assert_eq!(get(DatePart::Month), i64::from(expected.month()));
            assert_eq!(get(DatePart::DayOfMonth), i64::from(expected.day()));
            assert_eq!(get(DatePart::DayOfYear), i64::from(expected.day_of_year()));
            assert_eq!(get(DatePart::DaysInMonth), i64::from(expected.days_in_month()));
            assert_eq!(get(DatePart::DayOfWeek), i64::from(expected.weekday().since(Weekday::Sunday)));
            assert_eq!(get(DatePart::Hour), i64::from(expected.hour()));
            assert_eq!(get(DatePart::Minute), i64::from(expected.minute()));
        }
    }

    #[test]
    fn any_number_has_a_date() {
        for seconds in [i64::MIN, i64::MAX] {
            assert!((1..=12).contains(&date_part(DatePart::Month, seconds)));
        }
    }
}
