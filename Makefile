# make demo      set up everything and run the main job on the bundled checkpoint
# make test      set up everything and run the tests
# make install   build and install the binary and shell completions below PREFIX
# make lint      check the code's format
# make interop   check archives against Python's readers (installs packages into VENV)

PREFIX ?= /usr/local
DESTDIR ?=
VENV ?= .venv
SWIFT ?= swift
BINARY = .build/release/sana-tools

.PHONY: demo test install lint interop setup build clean

demo: build
	$(BINARY) convert --dtype fp16 --dtype int8
	$(BINARY) verify --tolerance 1e-3 --summary
	$(BINARY) profile
	$(BINARY) history list
	@$(BINARY) verify --tolerance 1e-3 --no-record --format markdown > reports/verify.md
	@$(BINARY) profile --leaves --no-record --format markdown > reports/profile.md
	@echo
	@echo "sana-digits was converted to fp16 and int8, verified layer by layer against diffusers and profiled."
	@echo "Reports:  reports/verify.md  reports/profile.md"
	@echo "Archives: reports/archives   History: reports/sana-tools.sqlite"

test: setup
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build

build: setup
	$(SWIFT) build -c release --product sana-tools

setup:
	@.ci/setup

install: build
	install -d "$(DESTDIR)$(PREFIX)/bin" \
	    "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" \
	    "$(DESTDIR)$(PREFIX)/share/zsh/site-functions" \
	    "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d"
	install -m 755 $(BINARY) "$(DESTDIR)$(PREFIX)/bin/sana-tools"
	$(BINARY) --generate-completion-script bash > "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/sana-tools"
	$(BINARY) --generate-completion-script zsh > "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_sana-tools"
	$(BINARY) --generate-completion-script fish > "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/sana-tools.fish"

lint:
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests

interop: build
	@test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement fixtures/requirements.txt
	SDNQ_USE_TORCH_COMPILE=0 $(VENV)/bin/python fixtures/interop.py --binary $(BINARY)

clean:
	rm -rf .build reports/archives reports/sana-tools.sqlite*
