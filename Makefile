# make demo      set up everything and run the main job on the bundled checkpoint
# make test      set up everything and run the tests
# make test-aarch64   test the kernels for aarch64 under emulation, if Debian's cross compiler and qemu-user are installed
# make install   build and install the binary, shell completions and existing manual pages below PREFIX
# make test-fast build and run the tests that start no process, read no large file and do not compute for long
# make coverage  measure line coverage of the tests, into .build/coverage
# make lint      check the code's format, doc comments of public declarations, the width of comments, and that matmul kernels keep
#                their sums in registers
# make docs      write docs/reference/cli from --help
# make docs-test run every command of README.md and docs/ in a copy, check links and that docs/reference/cli is current
# make examples-test run the examples under their schedulers, and check them; exits with 3 if one is not installed
# make report-test   open the HTML report in chromium at phone and desktop size; exits with 3 if it is not installed
# make snapshots write fixtures/sentences.txt: every --help, and the messages of failing commands
# make manual    write the manual pages to .build/manual, from the data of --help
# make package   write a .deb and a tarball that do not need Swift to .build/dist
# make package-test  install that .deb into a fresh Debian root and use it there (needs root and debootstrap)
# make fuzz      feed broken files to the parsers for FUZZ_SECONDS each
# make mutations break MUTATIONS files of each kind and run commands on them (reports/robustness.md)
# make bench     measure conversion and forward against zstd, PyTorch and OpenVINO in ROUNDS rounds (two hours, 80 GB of disk)
# make interop   check archives against Python's readers (installs packages into VENV)

PREFIX ?= /usr/local
DESTDIR ?=
VENV ?= .venv
FUZZ_SECONDS ?= 60
MUTATIONS ?= 10000
BENCH ?= .build/bench
ROUNDS ?= 3
SWIFT ?= swift
BINARY = .build/release/sana-tools
PACKAGED = .build/package/release/sana-tools
# For --version.
export SANA_COMMIT ?= $(shell git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null)

.PHONY: demo test test-aarch64 test-fast coverage install manual manual-pages package package-test lint docs docs-test report-test examples-test snapshots fuzz mutations bench interop setup build clean

SAMPLING = --prompt "a red seven on blue" --guidance-scale 3 --seed 11 --force

demo: build
	$(BINARY) convert --dtype fp16 --dtype int8
	$(BINARY) verify --tolerance 1e-3 --summary
	$(BINARY) verify fixtures/sana-digits reports/archives/*.zst --tolerance 1e-3 --summary --pictures reports/samples.png \
	    --trajectory fixtures/trajectories/sana-digits-dpm-20.safetensors
	$(BINARY) convert fixtures/sana-pictures --dtype fp16 --output reports/pictures-fp16 --force
	$(BINARY) convert fixtures/sana-pictures --dtype int8 --output reports/pictures-int8 --force
	$(BINARY) profile
	$(BINARY) history list
	@$(BINARY) verify --tolerance 1e-3 --no-record --format markdown > reports/verify.md
	@$(BINARY) profile --leaves --no-record --format markdown > reports/profile.md
	@for model in fixtures/sana-pictures reports/pictures-fp16 reports/pictures-int8; do \
	    $(BINARY) sample $$model $(SAMPLING) --output reports/$$(basename $$model).png || exit; \
	done
	$(BINARY) sample reports/pictures-int8 $(SAMPLING) --compute int8 --output reports/pictures-w8a8.png \
	    --beside reports/sana-pictures.png --beside reports/pictures-fp16.png --beside reports/pictures-int8.png \
	    --strip reports/pictures.png
	@echo
	@echo "sana-digits was converted to fp16 and int8, verified layer by layer against diffusers and profiled."
	@echo "Reports:  reports/verify.md  reports/profile.md  reports/samples.png"
	@echo "Pictures: reports/pictures.png: \"a red seven on blue\" by the source, fp16, int8 weights, and int8 weights and products"
	@echo "Archives: reports/archives   History: reports/sana-tools.sqlite"

# Warnings are errors here, and only here.
test test-fast: export SANA_STRICT = 1

test: setup
	$(SWIFT) build --build-tests
	@.ci/run-tests $(SWIFT) test --skip-build

test-fast: setup
	$(SWIFT) build --build-tests
	@.ci/run-tests $(SWIFT) test --skip-build $$(scripts/fast_tests.py)

coverage: setup
	$(SWIFT) test --enable-code-coverage --scratch-path .build/coverage
	scripts/coverage.sh .build/coverage

AARCH64 = .build/aarch64

test-aarch64:
	@for tool in clang aarch64-linux-gnu-ld qemu-aarch64; do \
	    command -v $$tool > /dev/null && continue; \
	    echo "SKIPPED test-aarch64: $$tool is not installed (Debian: gcc-aarch64-linux-gnu qemu-user; clang is part of Swift)"; \
	    exit 0; \
	done; \
	set -e; mkdir -p $(AARCH64); \
	clang --target=aarch64-linux-gnu -O3 -ffp-contract=off -Wall -Werror -static \
	    -fuse-ld="$$(command -v aarch64-linux-gnu-ld)" -ISources/CSanaKernels/include Sources/CSanaKernels/*.c \
	    Tests/Kernels/twins.c -lm -o $(AARCH64)/twins; \
	qemu-aarch64 -cpu max $(AARCH64)/twins sha256 neoni8mm neondot neon; \
	qemu-aarch64 -cpu cortex-a57 $(AARCH64)/twins sha256 neon

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

	if [ -d .build/manual ]; then \
	    install -d "$(DESTDIR)$(PREFIX)/share/man/man1" && \
	    install -m 644 .build/manual/*.1 "$(DESTDIR)$(PREFIX)/share/man/man1"; \
	fi

# Indented lines as they are, paragraphs for empty lines, no text taken for a request of roff, and letters beyond ASCII, which
# the generator leaves out and which therefore pass it as @U....@.
define LAYOUT
{ text = ""; while (match($$0, /@U[0-9A-F]+@/)) { text = text substr($$0, 1, RSTART - 1) "\\[u" substr($$0, RSTART + 2, RLENGTH - 3) "]"; $$0 = substr($$0, RSTART + RLENGTH) } $$0 = text $$0 }
/^  / { if (!literal) print ".Bd -literal -compact"; literal = 1; print; next }
literal { print ".Ed"; literal = 0 }
/^$$/ { print ".Pp"; next }
/^('|\.[^A-Z\\])/ { print "\\&" $$0; next }
{ print }
endef
export LAYOUT

define ASCII
#!/bin/sh
"$(abspath $(BINARY))" "$$@" | perl -CS -pe 's/([^\x00-\x7F])/sprintf(q(@U%04X@), ord $$1)/ge'
endef
export ASCII

manual: build manual-pages

manual-pages:
	$(SWIFT) build --product generate-manual
	rm -rf .build/manual
	mkdir -p .build/manual
	echo "$$ASCII" > .build/manual/help && chmod +x .build/manual/help
	.build/debug/generate-manual .build/manual/help --multi-page --output-directory .build/manual \
	    --date "$$(date --utc --date=@$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} +%Y-%m-%d)"
	rm .build/manual/help
	for page in .build/manual/*.1; do awk "$$LAYOUT" "$$page" > "$$page.new" && mv "$$page.new" "$$page" || exit 1; done

# English is the only language of ICU's data; no path of this machine is in the program, nor debug information.
package: setup
	SANA_ICU_DATA="$$(python3 scripts/icu_data.py .build/icu --swift $(SWIFT))" \
	    $(SWIFT) build -c release --product sana-tools --static-swift-stdlib --scratch-path .build/package \
	    -debug-info-format none \
	    -Xcc -ffile-prefix-map=$(CURDIR)=. -Xcxx -ffile-prefix-map=$(CURDIR)=. \
	    -Xswiftc -file-prefix-map -Xswiftc $(CURDIR)=.
	$(MAKE) manual-pages BINARY=$(PACKAGED)
	scripts/package.sh $(PACKAGED) .build/manual

package-test:
	scripts/package_test.sh .build/dist/sana-tools_*.deb

lint:
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests
	python3 scripts/lint.py
	python3 scripts/kernel_registers.py

docs: build
	python3 scripts/cli_reference.py --binary $(BINARY)

docs-test: build
	python3 scripts/cli_reference.py --binary $(BINARY) --check
	python3 scripts/snapshots.py --binary $(BINARY) --check
	python3 scripts/docs_test.py --binary $(BINARY)
	python3 scripts/draw_structure.py --check

examples-test: build
	python3 scripts/examples_test.py --binary $(BINARY)

report-test: build
	python3 scripts/report_test.py --binary $(BINARY)

snapshots: build
	python3 scripts/snapshots.py --binary $(BINARY)

fuzz: setup
	SANA_FUZZ=1 $(SWIFT) build -c release --scratch-path .build/fuzz --product sana-fuzz
	python3 scripts/fuzz.py .build/fuzz/release/sana-fuzz --seconds $(FUZZ_SECONDS) --report reports/robustness.md

mutations: setup
	$(SWIFT) build -c release --scratch-path .build/mutations --product sana-tools-under-test
	$(SWIFT) build --build-tests
	SANA_MUTATIONS=$(MUTATIONS) SANA_MUTATIONS_REPORT=reports/robustness \
	    SANA_MUTATIONS_BINARY=$(CURDIR)/.build/mutations/release/sana-tools-under-test \
	    $(SWIFT) test --skip-build --filter MutationTests

bench: build
	@test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement fixtures/requirements.txt --requirement fixtures/requirements-bench.txt
	mkdir -p $(BENCH)
	test -e $(BENCH)/sana-0.6b || $(VENV)/bin/python fixtures/make_random.py 0.6b $(BENCH)/sana-0.6b
	test -e $(BENCH)/sana-1.6b || $(VENV)/bin/python fixtures/make_random.py 1.6b $(BENCH)/sana-1.6b
	$(BINARY) kernels --format markdown > reports/kernels.md
	$(VENV)/bin/python fixtures/bench_conversion.py $(BENCH)/sana-1.6b --binary $(BINARY) --rounds $(ROUNDS) \
	    --output reports/conversion
	$(VENV)/bin/python fixtures/bench_forward.py --model $(BENCH)/sana-0.6b --model $(BENCH)/sana-1.6b \
	    --size 1024 --size 512 --binary $(BINARY) --rounds $(ROUNDS) --output reports/benchmark
	test -e $(BENCH)/dc-ae || $(VENV)/bin/python fixtures/make_random.py dc-ae $(BENCH)/dc-ae
	test -e $(BENCH)/gemma || $(VENV)/bin/python fixtures/make_random_gemma.py $(BENCH)/gemma
	$(VENV)/bin/python fixtures/bench_networks.py --autoencoder $(BENCH)/dc-ae --text-encoder $(BENCH)/gemma \
	    --binary $(BINARY) --rounds $(ROUNDS) --work $(BENCH)/networks --output reports/benchmark-networks
	test -e $(BENCH)/sprint || $(VENV)/bin/python fixtures/make_random_pipeline.py $(BENCH)/sprint
	test -e $(BENCH)/sprint-int8 || $(BINARY) convert $(BENCH)/sprint --dtype int8 --container safetensors \
	    --output $(BENCH)/sprint-int8
	$(VENV)/bin/python fixtures/bench_pipeline.py $(BENCH)/sprint --int8 $(BENCH)/sprint-int8 --size 512 --size 1024 \
	    --rounds $(ROUNDS) --binary $(BINARY) --openvino $(BENCH)/openvino --output reports/benchmark-pipeline

interop: build
	@test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement fixtures/requirements.txt
	SDNQ_USE_TORCH_COMPILE=0 $(VENV)/bin/python fixtures/interop.py --binary $(BINARY)
	SDNQ_USE_TORCH_COMPILE=0 $(VENV)/bin/python fixtures/interop_networks.py --binary $(BINARY)
	SDNQ_USE_TORCH_COMPILE=0 $(VENV)/bin/python fixtures/interop_formats.py --binary $(BINARY) \
	    --output reports/interop-formats.md

clean:
	rm -rf .build reports/archives reports/sana-tools.sqlite*
