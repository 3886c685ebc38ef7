# The few commands of everyday work; each is a line that can be typed by hand.
.PHONY: check test sim soak bench dev licences

# Fast, no servers: form, lints, the house's rules.
check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --test tidy

# Everything; as root on Debian it installs what it needs. One stage: tests/run api
test:
	tests/run

# The money under faults by chance: SEED=n plays one run again and tells its steps, SEEDS=1..100 plays a range.
sim:
	cargo test --locked --test sim -- --nocapture

# The same for longer: thousands of fresh runs that look at everything after every step, hundreds of real deaths.
soak:
	SEEDS=$${SEEDS:-100000..110000} cargo test --locked --test sim -- --nocapture
	SOAK_KILLS=$${SOAK_KILLS:-300} cargo test --locked --test soak -- --nocapture

# The bars, as ratios measured in one run on one machine.
bench:
	cargo bench --locked

# A server on this machine that forgets nothing between runs and logs more than usual.
dev:
	cargo run -- serve --log-filter info,muster=debug

# Licences, banned and duplicated crates; needs cargo-deny.
licences:
	cargo deny --locked check bans licenses sources
