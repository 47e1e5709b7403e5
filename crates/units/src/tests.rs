//! What the quantities promise.

use crate::{BasisPoints, Coin, List, Millis, Overflow, Rounding, Text, mul_div};
use proptest::prelude::*;

#[test]
fn a_product_of_256_bits_divides_exactly() {
    let max = u128::MAX;
    assert_eq!(mul_div(max, max, max, Rounding::Down), Ok(max));
    assert_eq!(mul_div(max, max, max - 1, Rounding::Down), Err(Overflow));
    assert_eq!(mul_div(1, 1, 0, Rounding::Up), Err(Overflow));
}

#[test]
fn rounding_goes_where_it_is_named() {
    assert_eq!(mul_div(7, 1, 2, Rounding::Down), Ok(3));
    assert_eq!(mul_div(7, 1, 2, Rounding::Up), Ok(4));
    assert_eq!(mul_div(8, 1, 2, Rounding::Up), Ok(4));
    assert_eq!(mul_div(u128::MAX, 1, 1, Rounding::Up), Ok(u128::MAX));
}

#[test]
fn an_amount_reads_as_people_write_it() {
    assert_eq!(Coin::new(1_500_000_000).to_string(), "1.5 SELV");
    assert_eq!(Coin::new(2_000_000_000).to_string(), "2 SELV");
    assert_eq!(Coin::new(1).to_string(), "0.000000001 SELV");
}

#[test]
fn json_amounts_are_strings_in_one_spelling() {
    let amount: Coin = serde_json::from_str("\"340282366920938463463374607431768211455\"").unwrap();
    assert_eq!(amount, Coin::MAX);
    for wrong in ["\"01\"", "\"+1\"", "\"-1\"", "\"1.0\"", "\"\"", "\" 1\"", "1", "\"1e3\""] {
        assert!(serde_json::from_str::<Coin>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn basis_points_above_the_whole_do_not_exist() {
    assert!(BasisPoints::new(10_001).is_err());
    assert!(borsh::from_slice::<BasisPoints>(&10_001u16.to_le_bytes()).is_err());
    assert!(serde_json::from_str::<BasisPoints>("10001").is_err());
    assert_eq!(BasisPoints::WHOLE.of(u128::MAX, Rounding::Down), Ok(u128::MAX));
}

#[test]
fn a_list_beyond_its_bound_is_refused_before_it_is_read() {
    let long = borsh::to_vec(&vec![1u8, 2, 3, 4]).unwrap();
    assert!(borsh::from_slice::<List<u8, 3>>(&long).is_err());
    assert!(borsh::from_slice::<List<u64, 3>>(&u32::MAX.to_le_bytes()).is_err());
    assert!(serde_json::from_str::<List<u8, 3>>("[1,2,3,4]").is_err());
    assert_eq!(&*borsh::from_slice::<List<u8, 4>>(&long).unwrap(), &[1, 2, 3, 4]);
}

#[test]
fn a_text_is_bounded_in_bytes_and_is_utf8() {
    assert!(Text::<3>::new("añb").is_err());
    assert!(borsh::from_slice::<Text<8>>(&[2, 0, 0, 0, 0xc3, 0x28]).is_err());
    assert!(borsh::from_slice::<Text<8>>(&[255, 255, 255, 255]).is_err());
    assert_eq!(&*Text::<4>::new("añb").unwrap(), "añb");
}

#[test]
fn counts_never_wrap() {
    assert_eq!(Millis::MAX.checked_add(Millis::new(1)), Err(Overflow));
    assert_eq!(Millis::ZERO.checked_sub(Millis::new(1)), Err(Overflow));
    assert_eq!(Millis::total([Millis::MAX, Millis::new(1)]), Err(Overflow));
}

proptest! {
    #[test]
    fn up_and_down_differ_by_at_most_one(a: u128, b: u64, c in 1u128..) {
        let down = mul_div(a, u128::from(b), c, Rounding::Down);
        let up = mul_div(a, u128::from(b), c, Rounding::Up);
        if let (Ok(down), Ok(up)) = (down, up) {
            prop_assert!(up == down || up == down + 1);
        }
    }

    #[test]
    fn an_amount_survives_both_encodings(nano: u128) {
        let coin = Coin::new(nano);
        let bytes = borsh::to_vec(&coin).unwrap();
        prop_assert_eq!(borsh::from_slice::<Coin>(&bytes).unwrap(), coin);
        let json = serde_json::to_string(&coin).unwrap();
        prop_assert_eq!(serde_json::from_str::<Coin>(&json).unwrap(), coin);
    }
}
