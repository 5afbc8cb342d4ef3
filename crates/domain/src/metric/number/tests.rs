//! Numbers as models write them.

use super::*;

fn values(text: &str, rules: Rules) -> Vec<f64> {
    numbers(&plain(text, rules), rules)
        .iter()
        .map(|found| found.value)
        .collect()
}

#[test]
fn numbers_are_read_as_models_write_them() {
    let cases: &[(&str, &[f64])] = &[
        ("1,234", &[1234.0]),
        ("$1,234.50", &[1234.5]),
        ("-5", &[-5.0]),
        ("−5", &[-5.0]),
        ("- 5", &[-5.0]),
        ("-$5", &[-5.0]),
        ("minus 5", &[-5.0]),
        ("3 - 5", &[3.0, 5.0]),
        ("3, 4", &[3.0, 4.0]),
        ("3/4", &[0.75]),
        ("1 1/2", &[1.5]),
        (r"\frac{1}{2}", &[0.5]),
        ("12/25/1937", &[]),
        ("at 12:30", &[]),
        ("the 5th of 7", &[7.0]),
        ("B12 and x2", &[]),
        ("5kg", &[5.0]),
        ("50%", &[50.0]),
        ("1.2 × 10^5", &[120_000.0]),
        ("2 million", &[2e6]),
        ("1e3", &[1000.0]),
        ("five", &[5.0]),
        ("twenty-one", &[21.0]),
        ("one hundred and five", &[105.0]),
        ("two thousand three hundred", &[2300.0]),
        ("five, six", &[5.0, 6.0]),
        ("two and three", &[2.0, 3.0]),
        ("someone", &[]),
        ("v1.2.3", &[]),
        ("1{,}000", &[1000.0]),
    ];
    for (text, expected) in cases {
        assert_eq!(&values(text, Rules::First), expected, "first rules: {text}");
        assert_eq!(&values(text, Rules::Second), expected, "{text}");
    }
}

#[test]
fn more_forms_are_read_whole_or_not_at_all() {
    let cases: &[(&str, &[f64])] = &[
        (r"5\frac{1}{2}", &[5.5]),
        (r"-5\frac{1}{2}", &[-5.5]),
        (r"\tfrac{3}{4}", &[0.75]),
        (r"\frac12", &[0.5]),
        (r"\frac{-1}{2}", &[-0.5]),
        (r"-\dfrac{1}{2}", &[-0.5]),
        (r"\frac{1,000}{2}", &[500.0]),
        (r"\frac{\pi}{2}", &[]),
        (r"2\frac{x}{3}", &[]),
        (r"\frac{\sqrt{2}}{2}", &[]),
        (r"2\sqrt{3}", &[]),
        (r"3\pi", &[]),
        ("10^5", &[100_000.0]),
        ("2^{10}", &[1024.0]),
        ("10^{-3}", &[0.001]),
        ("10⁵", &[100_000.0]),
        ("3 × 10^5", &[300_000.0]),
        ("x^2 = 9", &[9.0]),
        ("5 m²", &[5.0]),
        ("x_1 = 7", &[7.0]),
        ("10k", &[10_000.0]),
        ("$1.5M", &[1.5e6]),
        ("2bn", &[2e9]),
        ("$2T", &[2e12]),
        ("5m", &[5.0]),
        ("2 dozen", &[24.0]),
        ("3 lakh", &[3e5]),
        ("1 000 000", &[1e6]),
        ("1\u{a0}000", &[1000.0]),
        ("1'000'000", &[1e6]),
        ("1_000_000", &[1e6]),
        ("1,00,000", &[1e5]),
        ("1.000.000", &[1e6]),
        ("1.234,56", &[1234.56]),
        ("1,5", &[]),
        ("1,2,3", &[1.0, 2.0, 3.0]),
        ("½", &[0.5]),
        ("5½", &[5.5]),
        ("٤٢", &[42.0]),
        ("４２", &[42.0]),
        ("★★★★☆", &[4.0]),
        ("2019 300", &[2019.0, 300.0]),
        ("-1 1/2", &[-1.5]),
    ];
    for (text, expected) in cases {
        assert_eq!(&values(text, Rules::Second), expected, "{text}");
    }
}

#[test]
fn a_rating_means_what_it_is_out_of_its_whole() {
    let means = |answer: &str, wanted: &str| {
        let read = |text: &str| target(text, Rules::Second).unwrap();
        read(answer).means(read(wanted), |a, b| (a - b).abs() < 1e-9)
    };
    for (answer, wanted, expected) in [
        ("8/10", "8", true),
        ("8 out of 10", "8", true),
        ("4 stars out of 5", "4", true),
        ("4 of 5 stars", "4", true),
        ("eight out of ten", "8", true),
        ("8 on a scale of 1 to 10", "8", true),
        ("8/10", "0.8", true),
        ("4/5", "0.8", true),
        ("8.5/10", "8.5", true),
        ("8/10", "10", false),
        ("10/10", "1", false),
        ("8 out of 10", "10", false),
        ("3/4", "3", false),
        ("10/5", "2", true),
        ("8", "8 out of 10", true),
        ("7/10", "8 out of 10", false),
        ("8/10", "4/5", true),
        ("8", "8/10", false),
    ] {
        assert_eq!(means(answer, wanted), expected, "{answer} against {wanted}");
    }
}

#[test]
fn only_plain_whole_numbers_are_integers() {
    for (text, expected) in [
        ("5", Some(5)),
        ("five", Some(5)),
        ("1,000", Some(1000)),
        ("-3", Some(-3)),
        ("007", None),
        ("1.10", None),
        ("5 apples", None),
    ] {
        assert_eq!(integer(text), expected, "{text}");
    }
}
