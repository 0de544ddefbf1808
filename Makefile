# Everything that a person needs: see Tandem at work, test it, measure it, break it.

CARGO ?= cargo
SUDO  := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help demo test lint deb bench chaos postgres sample

help:
	@echo "make demo    two SQLite apps, traffic, a live view (Ctrl-C ends it)"
	@echo "make test    all tests; installs PostgreSQL and fetches a real app's schema, with apt-get"
	@echo "make lint    formatting and clippy, without mercy"
	@echo "make deb     a Debian package, in target/debian"
	@echo "make bench   measures against PostgreSQL's own logical replication"
	@echo "make chaos   kills what can be killed, and looks whether anything was lost"

demo:
	$(CARGO) run --release --bin tandem -- demo

# Tests never pass over what they need a server for: it is installed here, and started by the tests themselves
# with a folder, a port and a user of its own.
test: postgres sample
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --workspace; \
	else \
	  $(CARGO) test --workspace; \
	fi

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(CARGO) deny --all-features check bans licenses sources; \
	else \
	  echo "licences and sources were not looked at: cargo install cargo-deny"; \
	fi

deb:
	packaging/deb.sh

bench: postgres
	$(CARGO) run --release -p tandem-bench

# What the tests show of large transactions, long outages and long locks, here at its full length.
chaos: postgres
	TANDEM_ROWS=2000000 TANDEM_OUTAGE_SECONDS=180 TANDEM_LOCK_SECONDS=300 TANDEM_TWO_WAY_SECONDS=600 TANDEM_DELAY_MILLISECONDS=30000 TANDEM_HISTORIES=25 \
	  $(CARGO) test --release -p tandem --test binary -- \
	  --test-threads 1 --nocapture nearly_all:: stalled:: a_rule_pauses_when_the_destination_is_gone both::traffic both_histories::
	TANDEM_SCHEDULES=300000 $(CARGO) test --release -p tandem-engine --test simulation -- --test-threads 1 every_schedule
	$(CARGO) run --release -p tandem-chaos -- --long
	$(CARGO) run --release -p tandem-chaos -- --mistakes

# A real app's schema with its records, as Debian packages it: unpacked, not installed.
sample:
	@if [ ! -d target/sample/zabbix ]; then \
	  rm -rf target/sample && mkdir -p target/sample && cd target/sample && \
	  { apt-get download -qq zabbix-server-pgsql 2>/dev/null || \
	    { $(SUDO) apt-get update -qq && apt-get download -qq zabbix-server-pgsql; }; } && \
	  dpkg-deb -x zabbix-server-pgsql_*.deb . && mv usr/share/zabbix-server-pgsql zabbix; \
	fi

postgres:
	@if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
	  echo "installing PostgreSQL"; \
	  $(SUDO) apt-get update -qq && \
	  { DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends postgresql-15 || \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends postgresql; }; \
	fi
