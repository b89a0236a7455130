# Does a model know that a request needs a tool, in which direction, and does it use it?
#
#     make -f pipelines/tool_calling.mk MODEL=tiny OUT=out/tool_calling
#
# One target a stage, with its real inputs as prerequisites: only what changed runs again. The
# directions are fitted to train.json; steering is tried on test.json, whose templates they never saw.

MODEL ?= tiny
OUT ?= out/tool_calling
CIRCUIT ?= circuit
SEED ?= 42
SIZES ?= --per-tool 25 --no-tool 100
SUMS ?= 40
PROBES ?=
STRENGTH ?= 0.5
ARITHMETIC_LAYER ?= 50%
ARITHMETIC_STRENGTH ?= 1
CONTROLS ?= 10

.DELETE_ON_ERROR:
.PHONY: all found
all: found

$(OUT)/prompts.json:
	@mkdir -p $(OUT)
	$(CIRCUIT) dataset create -o $@ $(SIZES) --seed $(SEED) --force > $(OUT)/dataset.txt

$(OUT)/train.json: $(OUT)/prompts.json
	$(CIRCUIT) dataset split $< --train $@ --test $(OUT)/test.json --seed $(SEED) --force > $(OUT)/split.txt

$(OUT)/test.json: $(OUT)/train.json ;

$(OUT)/activations.json: $(OUT)/train.json
	$(CIRCUIT) collect -m $(MODEL) -d $< -o $(OUT)/activations --force > $(OUT)/collect.txt

$(OUT)/analysis.json: $(OUT)/activations.json
	$(CIRCUIT) analyze -a $(OUT)/activations.safetensors --umap -o $@ --force > $(OUT)/analyze.txt

$(OUT)/directions.json: $(OUT)/activations.json
	$(CIRCUIT) directions -a $(OUT)/activations.safetensors -o $(OUT)/directions --force > $(OUT)/directions.txt

$(OUT)/plots/plots.json: $(OUT)/activations.json $(OUT)/analysis.json $(OUT)/directions.json
	$(CIRCUIT) visualize -a $(OUT)/activations.safetensors --all -o $(OUT)/plots --force > $(OUT)/visualize.txt

$(OUT)/probes.json:
	@mkdir -p $(OUT)
	$(CIRCUIT) probes run -m $(MODEL) $(PROBES) -o $@ --force > $(OUT)/probes.txt

$(OUT)/steering.json: $(OUT)/directions.json $(OUT)/test.json
	$(CIRCUIT) steer -m $(MODEL) -d $(OUT)/directions.safetensors -p @$(OUT)/test.json \
	  --compare "-$(STRENGTH),0,$(STRENGTH)" --criterion function_call --controls $(CONTROLS) \
	  --max-tokens 8 --seed $(SEED) -o $@ --force > $(OUT)/steering.txt

$(OUT)/computation.npz:
	@mkdir -p $(OUT)
	$(CIRCUIT) steer -m $(MODEL) --extract --positive "100 - 37 = " --negative "100 - 37 =" \
	  --layer $(ARITHMETIC_LAYER) -o $@ --force > $(OUT)/computation.txt

$(OUT)/sums.json:
	@mkdir -p $(OUT)
	$(CIRCUIT) dataset create --set arithmetic_format --size $(SUMS) -o $@ --seed $(SEED) --force > $(OUT)/sums.txt

$(OUT)/arithmetic.json: $(OUT)/computation.npz $(OUT)/sums.json
	$(CIRCUIT) steer -m $(MODEL) -d $(OUT)/computation.npz -p @$(OUT)/sums.json \
	  --compare "0,$(ARITHMETIC_STRENGTH)" --criterion 'regex:^\s*-?\d' --controls $(CONTROLS) \
	  --max-tokens 6 --seed $(SEED) -o $@ --force > $(OUT)/arithmetic.txt

found: $(OUT)/plots/plots.json $(OUT)/probes.json $(OUT)/steering.json $(OUT)/arithmetic.json
	@cat $(OUT)/steering.txt $(OUT)/arithmetic.txt
