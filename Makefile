# One Makefile, not recursive. `make` builds the release profile and links its programs into build/.
#   PROFILE=debug|release|asan|tsan|fuzz|cov   CC=gcc|clang   V=1 shows commands   WERROR=1 as in CI

PROFILE ?= release
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
VERSION := 0.1.0
# of the manuals: that of the last commit, not of the build
DATE_EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),1790000000)

ifeq ($(PROFILE),fuzz)
CC = clang
else ifeq ($(origin CC),default)
CC = gcc
endif
PKG_CONFIG ?= pkg-config
B := build/$(PROFILE)
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))

# ---- flags -------------------------------------------------------------------------------------------------------
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wcast-qual -Wundef -Wvla $(if $(WERROR),-Werror)
TEST_WARNINGS := -Wall -Wextra -Wstrict-prototypes -Wno-unused-parameter $(if $(WERROR),-Werror)
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2
SANITIZE_asan := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SANITIZE_tsan := -fsanitize=thread
SANITIZE_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
PROFILE_debug := -O0 -g
PROFILE_release := -O2 -g $(HARDEN)
PROFILE_asan := -O1 -g $(SANITIZE_asan)
PROFILE_tsan := -O1 -g $(SANITIZE_tsan)
PROFILE_fuzz := -O1 -g $(SANITIZE_fuzz) -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
PROFILE_cov := -O0 -g --coverage
ifeq ($(PROFILE_$(PROFILE)),)
$(error unknown PROFILE "$(PROFILE)"; use debug, release, asan, tsan, fuzz or cov)
endif

CPPFLAGS += -D_GNU_SOURCE -Ilib -Ilib/include -I. -DKCPVPN_VERSION='"$(VERSION)"'
CFLAGS_ALL := -std=c17 $(PROFILE_$(PROFILE)) -fPIC -fvisibility=hidden -ffile-prefix-map=$(CURDIR)=. $(CFLAGS)
LDFLAGS_ALL := $(filter -fsanitize% --coverage -fno-sanitize%,$(PROFILE_$(PROFILE))) -Wl,-z,relro,-z,now $(LDFLAGS)
ifneq ($(PROFILE),fuzz)
LDFLAGS_EXE := $(LDFLAGS_ALL) -pie
else
LDFLAGS_EXE := $(subst fuzzer-no-link$(comma),,$(LDFLAGS_ALL))
endif
comma := ,

pkgs = $(shell $(PKG_CONFIG) --libs $(1) 2>/dev/null)
LIBS_kcpvpn := $(call pkgs,libsodium libgcrypt libisal)
LIBS_sodium := $(call pkgs,libsodium)
LIBS_config := $(call pkgs,yaml-0.1)
LIBS_control := $(call pkgs,jansson)
LIBS_vpnd := $(call pkgs,libnl-3.0 libnl-route-3.0 libcap-ng libseccomp) -lpthread
LIBS_criterion := $(call pkgs,criterion)
CPPFLAGS += $(shell $(PKG_CONFIG) --cflags libnl-3.0 libnl-route-3.0 2>/dev/null)

# ---- the library: an archive a layer -----------------------------------------------------------------------------
STACK_LAYERS := core udp crypto fec kcp session stack
LAYERS := $(STACK_LAYERS) config control
lib_src = $(sort $(wildcard lib/$(1)/*.c))
lib_obj = $(patsubst %.c,$(B)/obj/%.o,$(call lib_src,$(1)))
archive = $(B)/lib/lib$(1).a
# Order matters to the linker: who calls comes before who is called.
ARCHIVES_stack := $(foreach l,stack session kcp fec crypto udp core,$(call archive,$(l)))
ARCHIVES_all := $(call archive,control) $(call archive,config) $(ARCHIVES_stack)

VPND_SRC := $(sort $(wildcard vpnd/*.c))
VPND_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(VPND_SRC))
CLI_SRC := $(sort $(wildcard cli/*.c))
CLI_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(CLI_SRC))
KCPCAT_SRC := $(sort $(wildcard cli/kcpcat/*.c))
KCPCAT_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(KCPCAT_SRC))
PROGRAMS := $(if $(VPND_SRC),vpnd) $(if $(CLI_SRC),kcpctl) $(if $(KCPCAT_SRC),kcpcat)
LIBRARIES := libkcpvpn.a libkcpvpn.so

.PHONY: all profile deps demo test test-long check-layers format format-check fuzz bench bench-lossy bench-speed install deb manuals clean programs
all: profile
ifeq ($(PROFILE),release)
# so that `sudo make install` has nothing left to build
all: $(if $(shell command -v scdoc 2>/dev/null),manuals)
all: $(addprefix build/,$(PROGRAMS) $(LIBRARIES))
$(addprefix build/,$(PROGRAMS) $(LIBRARIES)): build/%: $(B)/%
	$(Q)mkdir -p $(@D) && ln -f $< $@
endif
programs: $(addprefix $(B)/,$(PROGRAMS))
profile: programs $(addprefix $(B)/,$(LIBRARIES))

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(WARNINGS) -MMD -MP -c -o $@ $<

define archive_rule
# The folder itself is newer when a file came or went.
$(call archive,$(1)): $(call lib_obj,$(1)) lib/$(1)
	@mkdir -p $$(@D)
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcsD $$@ $$(filter %.o,$$^)
endef
$(foreach l,$(LAYERS),$(eval $(call archive_rule,$(l))))

STACK_OBJ := $(foreach l,$(STACK_LAYERS),$(call lib_obj,$(l)))
$(B)/libkcpvpn.a: $(STACK_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcsD $@ $^
$(B)/libkcpvpn.so: $(STACK_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,libkcpvpn.so.0 $(LDFLAGS_ALL) -o $@ $^ $(LIBS_kcpvpn)

$(B)/vpnd: $(VPND_OBJ) $(ARCHIVES_all)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) -o $@ $^ $(LIBS_vpnd) $(LIBS_control) $(LIBS_config) $(LIBS_kcpvpn)
$(B)/kcpctl: $(CLI_OBJ) $(call archive,control) $(call archive,config) $(call archive,core)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) -o $@ $^ $(LIBS_control) $(LIBS_config) $(LIBS_sodium)
$(B)/kcpcat: $(KCPCAT_OBJ) $(B)/libkcpvpn.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) -o $@ $^ $(LIBS_kcpvpn)

# ---- tests -------------------------------------------------------------------------------------------------------
# tests/unit/LAYER/*.c and tests/vectors/LAYER/*.c become one Criterion program each. A layer's tests are linked with
# the whole of their own layer and with core alone, so that a call upwards does not link. Those of vpnd have a library that
# only notes; tests/unit/workers has the real one.
test_obj = $(patsubst %.c,$(B)/obj/%.o,$(sort $(wildcard $(1)/*.c)))
TEST_DIRS := $(sort $(patsubst %/,%,$(wildcard tests/unit/*/ tests/vectors/*/ tests/sim/)))
TEST_DIRS := $(foreach d,$(TEST_DIRS),$(if $(wildcard $(d)/*.c),$(d)))
test_name = $(subst /,-,$(patsubst tests/%,%,$(1)))
TEST_PROGRAMS := $(foreach d,$(TEST_DIRS),$(B)/tests/$(call test_name,$(d)))

$(B)/obj/tests/%.o: tests/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) -DTESTS_DIR='"tests"' $(CFLAGS_ALL) $(TEST_WARNINGS) -MMD -MP -c -o $@ $<

whole = -Wl,--whole-archive $(1) -Wl,--no-whole-archive
define test_rule
# $(1) directory, $(2) layer or program under test
$(B)/tests/$(call test_name,$(1)): $(call test_obj,$(1)) $(B)/obj/tests/give_way.o $(1) $(if $(filter $(LAYERS),$(2)),$(call archive,$(2)) $(call archive,core)) \
		$(if $(filter vpnd workers,$(2)),$(filter-out $(B)/obj/vpnd/main.o,$(VPND_OBJ)) $(ARCHIVES_all)) \
		$(if $(filter cli,$(2)),$(filter-out $(B)/obj/cli/main.o,$(CLI_OBJ)) $(ARCHIVES_all)) \
		$(if $(filter lab sim,$(2)),$(LAB_PART_OBJ)) $(if $(filter lab,$(2)),$(call archive,core)) \
		$(if $(filter stack sim,$(2)),$(ARCHIVES_stack)) $(if $(filter sim,$(2)),$(addprefix $(B)/obj/tests/unit/stack/native_,pair.o load.o))
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$(CC) $(LDFLAGS_EXE) -o $$@ $$(filter %.o,$$^) \
		$(if $(filter $(LAYERS),$(2)),$(call whole,$(call archive,$(2)))) \
		-Wl,--start-group $$(filter-out %/lib$(2).a,$$(filter %.a,$$^)) -Wl,--end-group \
		$(LIBS_criterion) $(LIBS_vpnd) $(LIBS_control) $(LIBS_config) $(LIBS_kcpvpn) $(if $(filter sim,$(2)),-lm)
endef
LAB_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(sort $(wildcard tests/lab/*.c)))
LAB_PART_OBJ := $(filter-out $(B)/obj/tests/lab/main.o,$(LAB_OBJ))
$(foreach d,$(TEST_DIRS),$(eval $(call test_rule,$(d),$(notdir $(d)))))

$(B)/lab: $(LAB_OBJ) $(call archive,core)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) -o $@ $^ -lpthread -lm

# What scripts of tests/netns run besides the programs themselves.
$(B)/light_flow: $(B)/obj/tests/bench/lossy/light_flow.o
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) -o $@ $^
$(B)/udp_rate: $(B)/obj/tests/bench/speed/udp_rate.o
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) -o $@ $^ -lpthread
$(B)/init_flood: $(B)/obj/tests/netns/tools/init_flood.o
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) -o $@ $^ $(LIBS_sodium)

$(B)/crowd: $(B)/obj/tests/netns/tools/crowd.o $(ARCHIVES_stack)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) -o $@ $^ $(LIBS_kcpvpn)

# A fuzz target is tests/fuzz/fuzz_NAME.c with LLVMFuzzerTestOneInput. In the fuzz profile libFuzzer drives it; in the
# others a small main replays the files of tests/fuzz/corpus/NAME.
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_PROGRAMS := $(addprefix $(B)/tests/fuzz-,$(FUZZ_NAMES))
FUZZ_MAIN := $(if $(filter fuzz,$(PROFILE)),,$(B)/obj/tests/fuzz/replay_main.o)
# What of vpnd a target is about, as it stands outside the library.
FUZZ_VPND_broker := $(addprefix $(B)/obj/vpnd/,broker_msg.o broker_rules.o config_record.o fault.o)
$(B)/tests/fuzz-broker: $(FUZZ_VPND_broker)
$(B)/tests/fuzz-name_answers: $(addprefix $(B)/obj/vpnd/,dns_message.o dbus_message.o)
$(B)/tests/fuzz-%: $(B)/obj/tests/fuzz/fuzz_%.o $(FUZZ_MAIN) $(ARCHIVES_all)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) $(if $(filter fuzz,$(PROFILE)),-fsanitize=fuzzer) -o $@ \
		$(filter %.o,$^) $(filter %.a,$^) \
		$(LIBS_control) $(LIBS_config) $(LIBS_kcpvpn) -lm

# Programs with a main of their own that need the stack: benchmarks and threaded tests.
BENCH_NAMES := $(patsubst tests/bench/%.c,%,$(sort $(wildcard tests/bench/bench_*.c)))
BENCH_PROGRAMS := $(addprefix $(B)/tests/,$(BENCH_NAMES))
BENCH_PART_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(filter-out tests/bench/bench_%,$(sort $(wildcard tests/bench/*.c))))
$(B)/tests/bench_%: $(B)/obj/tests/bench/bench_%.o $(BENCH_PART_OBJ) $(ARCHIVES_stack)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) -o $@ $^ $(LIBS_kcpvpn) -lpthread -lm

.PHONY: tests-build
tests-build: profile manuals $(TEST_PROGRAMS) $(FUZZ_PROGRAMS) $(BENCH_PROGRAMS) $(if $(LAB_OBJ),$(B)/lab) $(B)/init_flood $(B)/light_flow $(B)/udp_rate $(B)/crowd
.SECONDARY:

# ---- what a person calls -----------------------------------------------------------------------------------------
deps:
	$(Q)scripts/deps
demo: all
	$(Q)scripts/demo
test:
	$(Q)tests/run
test-long:
	$(Q)tests/run --long
check-layers:
	$(Q)scripts/check-layers
bench:
	$(Q)scripts/bench
bench-lossy:
	$(Q)scripts/bench-lossy
bench-speed:
	$(Q)scripts/bench-speed
fuzz:
	$(Q)scripts/fuzz

C_FILES = $(shell git ls-files '*.c' '*.h')
format:
	$(Q)clang-format -i $(C_FILES)
format-check:
	$(Q)clang-format --dry-run -Werror $(C_FILES)

# ---- manuals -----------------------------------------------------------------------------------------------------
# They stand beside their programs, in scdoc's language. What they say of keys and codes is made from the tables that the
# programs work by, with config_table.
MANUALS := $(addprefix $(B)/man/,vpnd.8 vpnd.yaml.5 kcpctl.8 kcpcat.1 vpnd-troubleshooting.7)
vpath %.scd vpnd cli cli/kcpcat
$(B)/config_table: $(B)/obj/vpnd/manual/config_table.o $(call archive,control) $(call archive,config) $(call archive,core)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_EXE) -o $@ $^ $(LIBS_config)
$(B)/man/%: %.scd $(B)/config_table
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)$(B)/config_table $< > $@.scd && SOURCE_DATE_EPOCH=$(DATE_EPOCH) scdoc < $@.scd > $@.new && mv $@.new $@
manuals: $(MANUALS)

# ---- installing --------------------------------------------------------------------------------------------------
SHARE := $(PREFIX)/share
ZSHDIR ?= $(SHARE)/zsh/site-functions
INSTALL_DIRS = $(PREFIX)/sbin $(PREFIX)/bin $(LIBDIR)/pkgconfig $(PREFIX)/include/kcpvpn $(MANDIR)/man1 $(MANDIR)/man5 \
	$(MANDIR)/man7 $(MANDIR)/man8 $(UNITDIR) $(SYSUSERSDIR) $(TMPFILESDIR) $(SYSCONFDIR)/vpnd $(PREFIX)/lib/systemd/network \
	$(PREFIX)/lib/systemd/networkd.conf.d $(PREFIX)/lib/NetworkManager/conf.d $(SHARE)/doc/kcpvpn/examples \
	$(ZSHDIR) $(addprefix $(SHARE)/,bash-completion/completions fish/vendor_completions.d)
FILL = sed -e 's|@SBINDIR@|$(PREFIX)/sbin|g' -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@LIBDIR@|$(LIBDIR)|g' -e 's|@VERSION@|$(VERSION)|g'

install: all manuals
	install -d $(addprefix $(DESTDIR),$(INSTALL_DIRS))
	install -m 0755 $(B)/vpnd $(DESTDIR)$(PREFIX)/sbin/vpnd
	install -m 0755 $(B)/kcpctl $(B)/kcpcat $(DESTDIR)$(PREFIX)/bin/
	install -m 0644 $(B)/libkcpvpn.a $(DESTDIR)$(LIBDIR)/libkcpvpn.a
	install -m 0755 $(B)/libkcpvpn.so $(DESTDIR)$(LIBDIR)/libkcpvpn.so.0
	ln -sf libkcpvpn.so.0 $(DESTDIR)$(LIBDIR)/libkcpvpn.so
	install -m 0644 lib/include/kcpvpn/*.h $(DESTDIR)$(PREFIX)/include/kcpvpn/
	$(FILL) scripts/kcpvpn.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/kcpvpn.pc
	for page in $(MANUALS); do install -m 0644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/ || exit; done
	install -m 0644 configs/*.yaml configs/systemd/with-*.conf $(DESTDIR)$(SHARE)/doc/kcpvpn/examples/
	$(FILL) configs/systemd/vpnd@.service.in > $(DESTDIR)$(UNITDIR)/vpnd@.service
	$(FILL) configs/systemd/vpnd-hold@.service.in > $(DESTDIR)$(UNITDIR)/vpnd-hold@.service
	install -m 0644 configs/systemd/vpnd@.socket $(DESTDIR)$(UNITDIR)/
	install -m 0644 configs/systemd/vpnd.sysusers $(DESTDIR)$(SYSUSERSDIR)/vpnd.conf
	install -m 0644 configs/systemd/vpnd.tmpfiles $(DESTDIR)$(TMPFILESDIR)/vpnd.conf
	install -m 0644 configs/systemd/10-kcpvpn.network $(DESTDIR)$(PREFIX)/lib/systemd/network/
	install -m 0644 configs/systemd/networkd.conf $(DESTDIR)$(PREFIX)/lib/systemd/networkd.conf.d/kcpvpn.conf
	install -m 0644 configs/systemd/NetworkManager.conf $(DESTDIR)$(PREFIX)/lib/NetworkManager/conf.d/kcpvpn.conf
	$(B)/kcpctl completion bash > $(DESTDIR)$(SHARE)/bash-completion/completions/kcpctl
	$(B)/kcpctl completion zsh > $(DESTDIR)$(ZSHDIR)/_kcpctl
	$(B)/kcpctl completion fish > $(DESTDIR)$(SHARE)/fish/vendor_completions.d/kcpctl.fish
	@# On the host itself, where systemd runs: the unit's user and groups must be there before it is started.
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
		systemd-sysusers $(SYSUSERSDIR)/vpnd.conf; systemd-tmpfiles --create $(TMPFILESDIR)/vpnd.conf; \
		systemctl daemon-reload; fi

deb: all manuals
	$(Q)B=$(B) scripts/package-deb

clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
