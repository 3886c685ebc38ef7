//! The signature of Standard Webhooks: HMAC-SHA256 over id, time and body.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::chance::Chance;

/// What every secret begins with.
const PREFIX: &str = "whsec_";

/// What a webhook's messages are signed with.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A fresh secret of 256 bits.
    pub fn fresh(chance: &dyn Chance) -> Self {
        let mut bits = Zeroizing::new([0u8; 32]);
        chance.fill(&mut *bits);
        Self(Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(*bits))))
    }

    /// A secret as it was shown.
    pub fn shown(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, to be shown once and stored sealed.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The signature of a message at a time in seconds since 1970.
    ///
    /// # Errors
    /// When this is no secret.
    pub(super) fn sign(&self, id: &str, seconds: &str, body: &[u8]) -> Result<String, String> {
        let torn = || "the secret of this webhook cannot be read; make a new webhook".to_owned();
        let key = self.0.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
        let key = Zeroizing::new(key.ok_or_else(torn)?);
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| torn())?;
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
            mac.update(part);
        }
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Seeded;

    /// The example of the Standard Webhooks specification's own libraries.
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let secret = Secret::shown("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_fresh_secret_signs_and_another_text_does_not() {
        assert!(Secret::fresh(&Seeded::new(1)).sign("a", "1", b"{}").unwrap().starts_with("v1,"));
        assert!(Secret::shown("whsec_???".to_owned()).sign("a", "1", b"{}").is_err());
    }
}
