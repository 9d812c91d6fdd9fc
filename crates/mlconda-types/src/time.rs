//! Times in UTC, as seconds since 1970. The files of `conda-meta`, archives and responses of servers have such times.
//! Times of records have another type (`jiff::Timestamp`).

/// The number of days in 400 years. After these, the calendar repeats.
const DAYS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
/// The number of seconds of a day.
const DAY: i64 = 86_400;

const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";

/// The seconds since 1970 at a time in UTC: year, month, day, hour, minute, second. `None` if there is no such time.
pub fn seconds([year, month, day, hour, minute, second]: [i64; 6]) -> Option<i64> {
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    if !is_time || !(0..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years are counted from March, so that the leap day is the last day of a year.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * months + 2) / 5 + day - 1;
    let days = 365 * years + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400) + of_year - EPOCH;
    // There is no 31st in a shorter month: such a date would be a day of the next month.
    let is_there = date(days) == [year, month, day];
    is_there.then_some(days * DAY + hour * 3600 + minute * 60 + second.min(59))
}

/// The year, month and day of a day, which is counted from 1970-01-01.
fn date(days: i64) -> [i64; 3] {
    let days = days + EPOCH;
    let (era, day) = (days.div_euclid(DAYS), days.rem_euclid(DAYS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let year = year + era * 400;
    let day = of_year - (153 * month + 2) / 5 + 1;
    if month < 10 { [year, month + 3, day] } else { [year + 1, month - 9, day] }
}

/// Writes a time as `2024-05-31 12:00:00`. A time after the year 9999 is written as 1970.
pub fn text(seconds: i64) -> String {
    let [year, month, day] = date(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    if !(0..=9999).contains(&year) {
        return text(0);
    }
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Reads a time in the form of [`text`].
pub fn parse(text: &str) -> Option<i64> {
    let separators = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':')];
    let is_of_its_form = text.len() == 19 && separators.iter().all(|(place, byte)| text.as_bytes()[*place] == *byte);
    if !is_of_its_form {
        return None;
    }
    let (date, time) = text.split_once(' ')?;
    let mut numbers = date.split('-').chain(time.split(':')).map(number);
    let mut next = || numbers.next()?;
    let all = [next()?, next()?, next()?, next()?, next()?, next()?];
    if numbers.next().is_some() { None } else { seconds(all) }
}

/// Writes a time as `2024-05-31T12:00:00Z` (RFC 3339). `nanoseconds` are added to `seconds`.
pub fn rfc3339(seconds: i64, nanoseconds: i32) -> String {
    // Before 1970, the nanoseconds may be negative.
    let (seconds, nanoseconds) =
        if nanoseconds < 0 { (seconds - 1, nanoseconds + 1_000_000_000) } else { (seconds, nanoseconds) };
    let fraction = format!(".{nanoseconds:09}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{}{fraction}Z", text(seconds).replace(' ', "T"))
}

/// Reads a time with its offset (RFC 3339), and returns the seconds since 1970 and the nanoseconds to add. Also reads
/// forms that some programs write: without seconds, and with the offsets `+02` and `+0200`.
pub fn of_rfc3339(text: &str) -> Option<(i64, i32)> {
    let (date, rest) = text.split_at_checked("2024-05-31".len())?;
    let (clock, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked("12:00".len())?;
    let (second, rest) = match rest.starts_with(':') {
        true => rest.split_at_checked(":00".len())?,
        false => (":00", rest),
    };
    let time = parse(&format!("{date} {clock}{second}"))?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|each: char| !each.is_ascii_digit()).filter(|length| *length > 0)?),
        None => ("0", rest),
    };
    let nanoseconds = format!("{fraction:0<9.9}").parse().ok()?;
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), offset) => {
            let (hours, minutes) = offset.split_at_checked(2)?;
            let minutes = if minutes.is_empty() { "00" } else { minutes.strip_prefix(':').unwrap_or(minutes) };
            let is_long = minutes.len() == 2;
            let (hours, minutes) = (number(hours)?, number(minutes)?);
            let is_offset = is_long && hours < 24 && minutes < 60;
            let seconds = is_offset.then_some(hours * 3600 + minutes * 60)?;
            if sign == "-" { -seconds } else { seconds }
        }
        _ => return None,
    };
    Some((time - offset, nanoseconds))
}

/// Reads a time of an HTTP header (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`, and the two older forms.
/// Returns seconds since 1970.
pub fn of_http(text: &str) -> Option<i64> {
    let mut words = text.split([' ', ',', '-']).filter(|word| !word.is_empty()).skip(1);
    let mut next = || words.next();
    let (first, second, third, fourth) = (next()?, next()?, next()?, next()?);
    // `Sun Nov  6 08:49:37 1994` (asctime) has the month first, and no zone.
    let (day, month, year, time, zone) = match number(first) {
        Some(day) => (day, second, number(third)?, fourth, next()?),
        None => (number(second)?, first, number(fourth)?, third, "GMT"),
    };
    let month = MONTHS.match_indices(month.get(..3)?).map(|(place, _)| place).find(|place| place % 3 == 0)?;
    // A year of two digits belongs to this century or to the last one.
    let year = match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    };
    let mut clock = time.split(':').map(number);
    let mut next = || clock.next()?;
    let time = seconds([year, i64::try_from(month).ok()? / 3 + 1, day, next()?, next()?, next()?])?;
    let is_utc = ["GMT", "UTC", "+0000"].contains(&zone) && words.next().is_none() && clock.next().is_none();
    is_utc.then_some(time)
}

/// A number without a sign.
fn number(text: &str) -> Option<i64> {
    if text.bytes().all(|each| each.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

    use super::*;

    /// Compares with the library `jiff`: a time every few days, for ten thousand years.
    #[test]
    fn times_are_those_of_the_library() {
        let (mut time, end) = (seconds([0, 1, 1, 0, 0, 0]).unwrap(), seconds([9999, 12, 30, 22, 0, 0]).unwrap());
        while time < end {
            let theirs = Timestamp::from_second(time).unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string();
            assert_eq!(text(time), theirs);
            assert_eq!(parse(&theirs), Some(time));
            time += 40 * 3600 * 7 + 12_347;
        }
        assert_eq!(text(i64::MAX / 2), "1970-01-01 00:00:00");
    }

    #[test]
    fn days_that_are_not_there_are_none() {
        for year in [1900, 1999, 2000, 2024] {
            for (month, day) in
                [(2, 28), (2, 29), (2, 30), (4, 30), (4, 31), (12, 31), (13, 1), (0, 1), (1, 0), (1, 32)]
            {
                let theirs = DateTime::new(year, month, day, 1, 2, 3, 0).ok();
                let theirs = theirs.map(|time| time.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second());
                assert_eq!(
                    seconds([i64::from(year), i64::from(month), i64::from(day), 1, 2, 3]),
                    theirs,
                    "{year}-{month}-{day}"
                );
            }
        }
        for broken in [
            "",
            "2024",
            "2024-05-31",
            "2024-05-31 12:00",
            "2024-05-31 24:00:00",
            "2024-05-31 12:00:00:1",
            "2024-5-031 12:00:00",
            "024-005-31 12:00:00",
            "x",
        ] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn times_with_offsets_are_those_of_the_library() {
        for text in [
            "2024-05-31T12:00:00Z",
            "2024-05-31t12:00:00z",
            "2024-02-29 23:59:59.5+05:30",
            "1969-12-31T23:59:59.123456789-08:00",
            "1969-12-31T23:59:59.5Z",
            "2024-05-31T12:00Z",
            "2024-05-31T12:00+00:00",
            "2024-05-31T12:00:00+0200",
            "2024-05-31T12:00:00-02",
            "2024-05-31T1:02:003Z",
            "2024-05-31T12:00:60Z",
            "2024-05-31T12:00:00",
            "2024-05-31T12:00:00.Z",
            "2024-05-31T12:00:00+2:00",
            "2023-02-29T12:00:00Z",
            "2024-05-31T12:00:00ZZ",
            "yesterday evening",
            "2024-05-31Ü12:00:00Z",
        ] {
            let theirs = text.parse::<Timestamp>().ok();
            let ours = of_rfc3339(text).map(|(seconds, nanoseconds)| {
                let time = Timestamp::new(seconds, nanoseconds).unwrap();
                assert_eq!(rfc3339(time.as_second(), time.subsec_nanosecond()), time.to_string());
                time
            });
            assert_eq!(ours, theirs, "{text}");
        }
    }

    #[test]
    fn the_three_forms_of_http_are_read() {
        for same in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(of_http(same), Some(784_111_777), "{same}");
        }
        for broken in
            ["", "soon", "Sun, 06 Nov 1994 08:49:37 PST", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 06 ovD 1994 08:49:37 GMT"]
        {
            assert_eq!(of_http(broken), None, "{broken}");
        }
    }
}
