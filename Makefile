# The few commands of everyday work; each is a line that can be typed by hand.
.PHONY: check test bench dev licences

# Fast, no servers: form, lints, the house's rules.
check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --test tidy

# Everything; as root on Debian it installs what it needs. One stage: tests/run api
test:
	tests/run

# The bars, as ratios measured in one run on one machine.
bench:
	cargo bench --locked

# A server on this machine that forgets nothing between runs and logs more than usual.
dev:
	cargo run -- serve --log-filter info,muster=debug

# Licences, banned and duplicated crates; needs cargo-deny.
licences:
	cargo deny --locked check bans licenses sources
