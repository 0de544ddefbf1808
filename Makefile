# Everything that a person needs: see Tandem at work, test it, measure it, break it.

CARGO ?= cargo
SUDO  := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Where cargo builds, as a whole path.
TARGET = $(abspath $(or $(CARGO_TARGET_DIR),target))

.PHONY: help demo test lint deb bench chaos fuzz-api console postgres sample browser packager

help:
	@echo "make demo    two SQLite apps, traffic, a live view, a link to the web console (Ctrl-C ends it)"
	@echo "make test    all tests; installs PostgreSQL and a browser, and fetches a real app's schema, with apt-get"
	@echo "make console what of them is about the console"
	@echo "make lint    formatting and clippy, without mercy"
	@echo "make deb     a Debian package, in target/debian"
	@echo "make bench   measures against PostgreSQL's own logical replication"
	@echo "make fuzz-api  asks the API what its own document allows and forbids, with schemathesis from PyPI"
	@echo "make chaos   kills what can be killed, and looks whether anything was lost"

demo:
	$(CARGO) run --release --bin tandem -- demo

# Tests never pass over what they need a server for: it is installed here, and started by the tests themselves
# with a folder, a port and a user of its own.
test: postgres sample packager
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --workspace; \
	else \
	  $(CARGO) test --workspace; \
	fi
	$(MAKE) --no-print-directory console

# The console: that what is committed as built is what the sources make, and a person's paths through it, in a browser
# against the real binary. Pictures of each page are left in target/console-shots.
console: browser
	@# Not `npm ci`, which wants every platform's packages in the lock file, also where a registry has only one's own.
	cd console && npm install --no-save --no-audit --no-fund && npm run --silent fresh
	$(CARGO) build --bin tandem
	cd console && TANDEM_BIN="$(TARGET)/debug/tandem" TANDEM_SHOTS="$(TARGET)/console-shots" npm run --silent test

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
	TANDEM_SCHEDULES=300000 $(CARGO) test --release -p tandem-engine --test simulation -- --test-threads 1 every_schedule --skip every_schedule_of_tables
	TANDEM_SCHEDULES=50000 $(CARGO) test --release -p tandem-engine --test simulation -- --test-threads 1 every_schedule_of_tables
	$(CARGO) run --release -p tandem-chaos -- --long
	$(CARGO) run --release -p tandem-chaos -- --mistakes

# Not a part of the tests: it needs PyPI, and from 10 to 70 s, as the machine has time.
fuzz-api:
	@[ -x target/schemathesis/bin/st ] || { python3 -m venv target/schemathesis && target/schemathesis/bin/pip install -q 'schemathesis==4.32.5'; }
	$(CARGO) build -p tandem
	proof/fuzz-api/run $${CARGO_TARGET_DIR:-target}/debug/tandem target/schemathesis/bin/st

# A real app's schema with its records, as Debian packages it: unpacked, not installed.
sample:
	@if [ ! -d target/sample/zabbix ]; then \
	  rm -rf target/sample && mkdir -p target/sample && cd target/sample && \
	  { apt-get download -qq zabbix-server-pgsql 2>/dev/null || \
	    { $(SUDO) apt-get update -qq && apt-get download -qq zabbix-server-pgsql; }; } && \
	  dpkg-deb -x zabbix-server-pgsql_*.deb . && mv usr/share/zabbix-server-pgsql zabbix; \
	fi

browser:
	@missing=""; \
	command -v npm >/dev/null 2>&1 || missing="$$missing nodejs npm"; \
	[ -x /usr/bin/chromium ] || missing="$$missing chromium"; \
	command -v sqlite3 >/dev/null 2>&1 || missing="$$missing sqlite3"; \
	if [ -n "$$missing" ]; then \
	  echo "installing$$missing"; \
	  $(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; \
	fi

# What the package and its unit are looked at with.
packager:
	@if ! command -v systemd-analyze >/dev/null 2>&1 || ! command -v dpkg-deb >/dev/null 2>&1; then \
	  echo "installing systemd and dpkg"; \
	  $(SUDO) apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends systemd dpkg; \
	fi

postgres:
	@if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
	  echo "installing PostgreSQL"; \
	  $(SUDO) apt-get update -qq && \
	  { DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends postgresql-15 || \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends postgresql; }; \
	fi
