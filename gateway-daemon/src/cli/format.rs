//! Numbers as people read them.

/// 65536 as "65,536".
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 flow", "2,000 flows".
pub(super) fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// 1536 as "1.5 KiB", rounded down.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(power) = number.checked_ilog2().map(|bits| bits / 10).filter(|power| *power > 0) else {
        return format!("{number} B");
    };
    let unit = 1_u64 << (10 * power);
    let tenths = u128::from(number % unit) * 10 / u128::from(unit);
    format!("{}.{tenths} {}", number / unit, UNITS[power as usize - 1])
}

/// 1 of 3 as "33.3 %", rounded down: only what is full shows 100.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let tenths = u128::from(part) * 1_000 / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// 3700 as "1h 1m": the two largest units.
pub(super) fn duration(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, _) => format!("{minutes}m {}s", secs % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// A time as "2023-11-14 22:13:20Z" (the algorithm is Howard Hinnant's `civil_from_days`, for years after 1970).
pub(super) fn utc(unix_secs: u64) -> String {
    let (days, secs) = (unix_secs / 86_400 + 719_468, unix_secs % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on, so that the leap day is the last of the year.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", secs / 3_600, secs / 60 % 60, secs % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!([7, 1_024, 16_777_216].map(grouped), ["7", "1,024", "16,777,216"]);
        assert_eq!([0, 1, 2_000].map(|n| counted(n, "flow")), ["0 flows", "1 flow", "2,000 flows"]);
    }

    #[test]
    fn bytes_have_a_unit() {
        assert_eq!(
            [0, 1_023, 1_024, 1_536, 5 << 30, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB", "15.9 EiB"]
        );
    }

    #[test]
    fn times_are_dates() {
        assert_eq!(
            [0, 951_782_399, 951_782_400, 1_700_000_000, 4_107_542_400].map(utc),
            [
                "1970-01-01 00:00:00Z",
                "2000-02-28 23:59:59Z",
                "2000-02-29 00:00:00Z",
                "2023-11-14 22:13:20Z",
                "2100-03-01 00:00:00Z"
            ]
        );
    }

    #[test]
    fn only_what_is_full_shows_a_hundred_percent() {
        assert_eq!(
            [0, 1, 999_999, 1_000_000].map(|n| percent(n, 1_000_000)),
            ["0.0 %", "0.0 %", "99.9 %", "100.0 %"]
        );
        assert_eq!(percent(1, 0), "-");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0 %");
    }

    #[test]
    fn durations_show_two_units() {
        assert_eq!([0, 59, 60, 3_700, 90_000].map(duration), ["0s", "59s", "1m 0s", "1h 1m", "1d 1h"]);
    }
}
