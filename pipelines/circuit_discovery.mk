# Which heads and MLPs of a model decide between a tool call and an answer?
#
#     make -f pipelines/circuit_discovery.mk MODEL=tiny OUT=out/circuit
#
# The prompts are split by template: half for the search, half for what is printed. The token that is said when a tool is needed is the one that the
# model itself says most often then; ANSWER='<tool_call>' names another. KEEP is the share of the effect that the set has to keep.

MODEL ?= tiny
OUT ?= out/circuit_discovery
CIRCUIT ?= circuit
SEED ?= 42
SIZES ?= --per-tool 8 --no-tool 60
ANSWER ?=
KEEP ?= 0.9
RANDOM ?= 20

ASKED := $(MODEL) $(SIZES) $(ANSWER) $(KEEP) $(RANDOM) $(SEED)
QUOTED := '$(subst ','\'',$(ASKED))'
$(shell mkdir -p '$(OUT)'; printf '%s\n' $(QUOTED) | cmp -s - '$(OUT)/asked.txt' || printf '%s\n' $(QUOTED) > '$(OUT)/asked.txt')

.DELETE_ON_ERROR:
.PHONY: all found
all: found

$(OUT)/prompts.json: $(OUT)/asked.txt
	$(CIRCUIT) dataset create -o $@ $(SIZES) --no-edge-cases --seed $(SEED) --force > $(OUT)/dataset.txt

$(OUT)/circuit.json: $(OUT)/prompts.json
	$(CIRCUIT) introspect circuit -m $(MODEL) -d $< $(if $(ANSWER),--answer '$(ANSWER)') --keep $(KEEP) --random $(RANDOM) \
	  --seed $(SEED) -o $@ --dot $(OUT)/circuit.dot --plot $(OUT)/circuit.png --force > $(OUT)/circuit.txt

found: $(OUT)/circuit.json
	@cat $(OUT)/circuit.txt
	@echo
	@echo "To read: $(OUT)/circuit.json; $(OUT)/circuit.png has all nodes, $(OUT)/circuit.dot the set"
