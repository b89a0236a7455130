# At which layer does each question of a battery become readable in a model that nobody has probed before?
#
#     make -f pipelines/stratigraphy.mk MODEL=mlx-community/Qwen3-0.6B-4bit OUT=out/qwen
#
# Ends in report.html, which says what was found and how sure that is. PROBES takes options of `probes run`:
# --category, --layers, --datasets, --raw. Another MODEL, other PROBES or another SEED run everything again.

MODEL ?= tiny
OUT ?= out/stratigraphy
CIRCUIT ?= circuit
SEED ?= 0
PROBES ?=

ASKED := $(MODEL) $(PROBES) $(SEED)
QUOTED := '$(subst ','\'',$(ASKED))'
$(shell mkdir -p '$(OUT)'; printf '%s\n' $(QUOTED) | cmp -s - '$(OUT)/asked.txt' || printf '%s\n' $(QUOTED) > '$(OUT)/asked.txt')

.DELETE_ON_ERROR:
.PHONY: all found
all: found

$(OUT)/probes.json: $(OUT)/asked.txt
	$(CIRCUIT) probes run -m $(MODEL) $(PROBES) --seed $(SEED) -o $@ --force > $(OUT)/probes.txt

$(OUT)/plots/plots.json: $(OUT)/probes.json
	$(CIRCUIT) visualize --report $< -o $(OUT)/plots --force > $(OUT)/visualize.txt

$(OUT)/report.html: $(OUT)/probes.json $(OUT)/plots/plots.json
	$(CIRCUIT) report $^ -o $@ --force > $(OUT)/report.txt

found: $(OUT)/report.html
	@sed -n '/^=== Computational stratigraphy/,$$p' $(OUT)/probes.txt
	@echo
	@echo "To read: $(OUT)/report.html; the pictures are in $(OUT)/plots"
