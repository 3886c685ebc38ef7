//! A panic's message goes to the log before the trap, so that whoever tests or runs the plugin sees it.

use crate::log::{Level, emit};

/// Run with the constructors of the module, before the first call of an instance.
#[cfg(target_arch = "wasm32")]
#[used]
#[unsafe(link_section = ".init_array")]
static HOOK: extern "C" fn() = {
    extern "C" fn set() {
        std::panic::set_hook(Box::new(|panic| told(&panic.to_string())));
    }
    set
};

/// Writes the message of a panic to the log.
#[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "nothing but a guest has the log"))]
fn told(message: &str) {
    emit(Level::Error, message);
}
