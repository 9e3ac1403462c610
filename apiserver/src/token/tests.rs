//! Tests of signing and opening tokens, with keys that openssl made.

use std::process::Command;

use super::*;

/// What a command prints, given this input.
fn openssl(args: &str, input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = Command::new("openssl")
        .args(args.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is there");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {args}");
    output.stdout
}

fn tokens(signer: &[u8], keys: &[&[u8]]) -> Tokens {
    let issuers = vec!["https://here".to_owned()];
    Tokens {
        signer: Some(key::private_key(signer).unwrap()),
        keys: keys.iter().flat_map(|pem| key::public_keys(pem).unwrap()).collect(),
        audiences: issuers.clone(),
        issuers,
    }
}

#[test]
fn keys_of_every_sort_sign_and_verify() {
    let cases = [
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", "RS256"),
        ("genrsa -traditional 2048", "RS256"),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", "ES256"),
        ("ecparam -genkey -name prime256v1", "ES256"),
        ("ecparam -genkey -noout -name secp384r1", "ES384"),
    ];
    let claims = Claims { iss: "https://here".to_owned(), exp: 1, ..Claims::default() };
    for (make, algorithm) in cases {
        let private = openssl(make, b"");
        let public = openssl("pkey -pubout", &private);
        let tokens = tokens(&private, &[&public]);
        let token = tokens.sign(&claims).unwrap().unwrap();
        assert_eq!(tokens.open(&token), Ok(Some(claims.clone())), "{make}");
        assert_eq!(tokens.algorithms(), [algorithm], "{make}");
        let key = &tokens.key_set()["keys"][0];
        assert_eq!(key["kid"], tokens.signer.as_ref().unwrap().public().id(), "{make}");
    }
}

#[test]
fn keys_are_rotated_and_foreign_tokens_refused() {
    let pem = || openssl("ecparam -genkey -name prime256v1", b"");
    let (old, new) = (pem(), pem());
    let (before, after, without) =
        (tokens(&old, &[&old]), tokens(&new, &[&new, &old]), tokens(&new, &[&new]));
    let claims = Claims { iss: "https://here".to_owned(), ..Claims::default() };
    let token = before.sign(&claims).unwrap().unwrap();
    assert_eq!(after.open(&token), Ok(Some(claims.clone())));
    assert_eq!(without.open(&token), Err("invalid signature, no keys found".to_owned()));
    let wrong = Err("go-jose/go-jose: error in cryptographic primitive".to_owned());
    assert_eq!(before.open(&format!("{token}x")), wrong);
    let (_, signature) = token.rsplit_once('.').unwrap();
    let header = token.split('.').next().unwrap();
    let forged = URL_SAFE_NO_PAD.encode(r#"{"iss":"https://here","exp":9,"sub":"root"}"#);
    assert_eq!(before.open(&format!("{header}.{forged}.{signature}")), wrong);
    let elsewhere = Claims { iss: "https://there".to_owned(), ..claims };
    let token = before.sign(&elsewhere).unwrap().unwrap();
    for foreign in [token.as_str(), "x", "a.b.c"] {
        assert_eq!(before.open(foreign), Ok(None), "{foreign}");
    }
}

#[test]
fn files_without_keys_are_named() {
    assert!(key::private_key(b"").is_err());
    assert!(key::public_keys(b"-----BEGIN NOTHING-----\nAAAA\n-----END NOTHING-----\n").is_err());
}
