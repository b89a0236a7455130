# What did fine-tuning move, and does a probe of the base model still read the other?
#
#     make -f pipelines/compare_models.mk BASE=Qwen/Qwen3-0.6B-Base OTHER=Qwen/Qwen3-0.6B FORMAT=--raw OUT=out/tuned
#
# One prompt set goes through both models, and the two archives are compared row by row. PROMPTS takes a set of your own.
# FORMAT=--raw where one of the two has no chat template: the same prompt must be the same tokens in both.

OUT ?= out/compare_models
CIRCUIT ?= circuit
SEED ?= 0
SIZES ?= --per-tool 25 --no-tool 100
PROMPTS ?= $(OUT)/prompts.json
FORMAT ?=
LAYERS ?= all

ifeq ($(strip $(BASE)),)
$(error BASE=MODEL and OTHER=MODEL are the two models to compare)
endif
ifeq ($(strip $(OTHER)),)
$(error OTHER=MODEL is the model to compare $(BASE) with)
endif

ASKED := $(BASE) $(OTHER) $(FORMAT) $(LAYERS) $(SIZES) $(SEED)
QUOTED := '$(subst ','\'',$(ASKED))'
$(shell mkdir -p '$(OUT)'; printf '%s\n' $(QUOTED) | cmp -s - '$(OUT)/asked.txt' || printf '%s\n' $(QUOTED) > '$(OUT)/asked.txt')
COLLECT = $(CIRCUIT) collect -d $< --sites embed,resid_post --layers $(LAYERS) $(FORMAT) --force

.DELETE_ON_ERROR:
.PHONY: all found
all: found

$(OUT)/prompts.json: $(OUT)/asked.txt
	$(CIRCUIT) dataset create -o $@ $(SIZES) --no-edge-cases --seed $(SEED) --force > $(OUT)/dataset.txt

$(OUT)/base.json: $(PROMPTS) $(OUT)/asked.txt
	$(COLLECT) -m $(BASE) -o $(OUT)/base > $(OUT)/collect_base.txt

$(OUT)/other.json: $(PROMPTS) $(OUT)/asked.txt
	$(COLLECT) -m $(OTHER) -o $(OUT)/other > $(OUT)/collect_other.txt

$(OUT)/analysis.json: $(OUT)/base.json $(OUT)/other.json
	$(CIRCUIT) analyze -a $(OUT)/base.safetensors --compare $(OUT)/other.safetensors --seed $(SEED) \
	  -o $@ --force > $(OUT)/analyze.txt

$(OUT)/report.html: $(OUT)/analysis.json
	$(CIRCUIT) report $< -o $@ --force > $(OUT)/report.txt

found: $(OUT)/report.html
	@sed -n '/^Compared with/,$$p' $(OUT)/analyze.txt | grep .
	@echo
	@echo "To read: $(OUT)/report.html"
