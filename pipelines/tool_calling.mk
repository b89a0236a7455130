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
LAYER ?= 50%
STRENGTHS ?= -1,-0.5,0,0.5,1
SUM_LAYER ?= 50%
SUM_STRENGTHS ?= 0,1
CONTROLS ?= 19

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
	$(CIRCUIT) steer -m $(MODEL) -d $(OUT)/directions.safetensors -p @$(OUT)/test.json --layer $(LAYER) \
	  --compare "$(STRENGTHS)" --criterion function_call --controls $(CONTROLS) \
	  --max-tokens 8 --seed $(SEED) -o $@ --force > $(OUT)/steering.txt

$(OUT)/computation.npz:
	@mkdir -p $(OUT)
	$(CIRCUIT) steer -m $(MODEL) --extract --positive "100 - 37 = " --negative "100 - 37 =" \
	  --layer $(SUM_LAYER) -o $@ --force > $(OUT)/computation.txt

$(OUT)/sums.json:
	@mkdir -p $(OUT)
	$(CIRCUIT) dataset create --set arithmetic_format --size $(SUMS) -o $@ --seed $(SEED) --force > $(OUT)/sums.txt

# The same answers are judged twice: is it a number at all, and is it the right one?
$(OUT)/computed.json: $(OUT)/computation.npz $(OUT)/sums.json
	$(CIRCUIT) steer -m $(MODEL) -d $(OUT)/computation.npz -p @$(OUT)/sums.json \
	  --compare "$(SUM_STRENGTHS)" --criterion 'regex:^\s*-?\d' --controls $(CONTROLS) \
	  --max-tokens 6 --seed $(SEED) -o $@ --force > $(OUT)/computed.txt

$(OUT)/correct.json: $(OUT)/computation.npz $(OUT)/sums.json
	$(CIRCUIT) steer -m $(MODEL) -d $(OUT)/computation.npz -p @$(OUT)/sums.json \
	  --compare "$(SUM_STRENGTHS)" --criterion expected --controls $(CONTROLS) \
	  --max-tokens 6 --seed $(SEED) -o $@ --force > $(OUT)/correct.txt

found: $(OUT)/plots/plots.json $(OUT)/probes.json $(OUT)/steering.json $(OUT)/computed.json $(OUT)/correct.json
	@echo
	@echo "1. Where is it? Held-out probes of tool / no_tool (more in $(OUT)/analyze.txt):"
	@sed -n '/^question /,/^$$/s/^/   /p' $(OUT)/analyze.txt
	@echo
	@echo "2. In which direction? Difference of means, cross-fitted ($(OUT)/directions.txt):"
	@sed -n '/ by layer ===$$/,/^n = /s/^/   /p' $(OUT)/directions.txt
	@echo
	@echo "3. Does the model use it? Requests whose templates the direction never saw:"
	@sed 's/^/   /' $(OUT)/steering.txt
	@echo
	@echo "4. Broken arithmetic: the direction of one pair, '100 - 37 = ' minus '100 - 37 =', on other sums."
	@echo "   Does a number follow?"
	@sed '1,2d; s/^/   /' $(OUT)/computed.txt
	@echo "   Is it the right one?"
	@sed '1,2d; s/^/   /' $(OUT)/correct.txt
	@echo
	@echo "5. A battery of probes, in order of depth: $(OUT)/probes.txt"
	@echo "   Pictures to open: $(OUT)/plots/probe_accuracy.png, $(OUT)/plots/directions_auroc.png,"
	@echo "   $(OUT)/plots/umap_layer*.png; is every file as its manifest says: circuit verify $(OUT)/steering.json"
