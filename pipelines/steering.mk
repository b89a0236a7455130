# Which directions steer a model, on prompts they never saw, further than vectors of the same size, and at what cost?
#
#     make -f pipelines/steering.mk MODEL=tiny OUT=out/steering
#
# Tool use, refusal, the sentiment that a sentence carries along, and moods. For each: prompts in three parts that share no template,
# the direction (fitted to the first), its layer (chosen on the second, under a bound on the damage), and the sweep (measured on the
# third). Ends in one table, steering.txt, and one picture, steering/steering.png. What a direction does that random and
# shuffled-label directions do as well, the table does not call steering.
#
# Moods are fitted to the texts of a concept and read on openings that leave the mood open, by words that may follow: those that `tiny` uses.
# For another model, change what is read: happy_READ='--positive-answers "..."'.

MODEL ?= tiny
OUT ?= out/steering
CIRCUIT ?= circuit
SEED ?= 42
MOODS ?= happy sad angry calm
CONCEPTS ?= tools refusal sentiment $(MOODS)
LAYERS ?= 25%,50%,75%
STRENGTHS ?= 1
RANDOM ?= 19
SHUFFLED ?= 19
DOSES ?= -1.5,-1,-0.5,-0.25,0,0.25,0.5,1,1.5
TOOL_SIZES ?= --per-tool 12 --no-tool 60
SIZE ?= 60
OPENINGS ?= 36
KL ?= 1.0

# What is read of each; blanks are text.
tools_READ = --positive-answers "<tool_call>"
refusal_READ = --positive-answers "I can't help" --negative-answers "Sure"
sentiment_READ = --prefill ", which is a" --positive-answers " gift| joy| delight| treasure| wonder| pleasure" \
  --negative-answers " curse| bore| disgrace| burden| shame| disaster"
happy_READ = --positive-answers " wonderful| wonderfully| fantastic| amazing"
sad_READ = --positive-answers " sad| sadly| lonely| empty"
angry_READ = --positive-answers " horribly| an outrage| a stupid"
calm_READ = --positive-answers " quiet| quietly| gently| softly| peaceful"
formal_READ = --positive-answers " hereby| respectfully| satisfactorily"
pirate_READ = --positive-answers " like rum| cursed| as salty"

# What moods are read on, which they share; the sentiment is fitted to one set and read on another.
PLACE = $(if $(filter sentiment,$*),carried,openings)

SWEEPS := $(foreach name,$(CONCEPTS),$(OUT)/$(name)/sweep.json)

.DELETE_ON_ERROR:
.PHONY: all found
.SECONDARY:
all: found

$(OUT)/tools/prompts.json:
	@mkdir -p $(@D)
	$(CIRCUIT) dataset create -o $@ --no-edge-cases $(TOOL_SIZES) --seed $(SEED) --force > $(@D)/dataset.txt

$(OUT)/refusal/prompts.json:
	@mkdir -p $(@D)
	$(CIRCUIT) dataset create --set refusal --size $(SIZE) -o $@ --seed $(SEED) --force > $(@D)/dataset.txt

# Two fifths are kept for the test, and a third of the rest for choices.
$(OUT)/tools/test.json $(OUT)/refusal/test.json: $(OUT)/%/test.json: $(OUT)/%/prompts.json
	$(CIRCUIT) dataset split $< --train $(@D)/rest.json --test $@ --test-fraction 0.4 --seed $(SEED) --force > $(@D)/split.txt

$(OUT)/tools/train.json $(OUT)/refusal/train.json: $(OUT)/%/train.json: $(OUT)/%/test.json
	$(CIRCUIT) dataset split $(@D)/rest.json --train $@ --test $(@D)/validation.json --seed $(SEED) --force >> $(@D)/split.txt

# The others are fitted to a whole set, and read on another one, which is divided for choices and test.
$(OUT)/%/train.json:
	@mkdir -p $(@D)
	$(CIRCUIT) dataset create --set $(patsubst sentiment,sentiment_plan,$*) -o $@ --seed $(SEED) --force > $(@D)/dataset.txt

$(OUT)/openings.json $(OUT)/carried.json: $(OUT)/%.json:
	@mkdir -p $(@D)
	$(CIRCUIT) dataset create --set $(patsubst carried,sentiment_carry,$*) --size $(OPENINGS) -o $@ --seed $(SEED) --force > $(OUT)/$*.txt

$(OUT)/%/test.json: $(OUT)/openings.json $(OUT)/carried.json
	@mkdir -p $(@D)
	$(CIRCUIT) dataset split $(OUT)/$(PLACE).json --train $(@D)/validation.json --test $@ --test-fraction 0.6 --seed $(SEED) --force > $(@D)/split.txt

$(OUT)/%/directions.json: $(OUT)/%/train.json
	$(CIRCUIT) collect -m $(MODEL) -d $< -o $(@D)/activations --force > $(@D)/collect.txt
	$(CIRCUIT) directions -a $(@D)/activations.safetensors -o $(@D)/directions --force > $(@D)/directions.txt

$(OUT)/%/selection.json: $(OUT)/%/directions.json $(OUT)/%/test.json
	$(CIRCUIT) steer select -m $(MODEL) -d $(@D)/directions.safetensors --layer $(LAYERS) --strengths $(STRENGTHS) --kl $(KL) \
	  --validation $(@D)/validation.json $($*_READ) --seed $(SEED) -o $@ --force > $(@D)/selection.txt

$(OUT)/%/sweep.json: $(OUT)/%/selection.json $(OUT)/%/test.json
	$(CIRCUIT) steer sweep -m $(MODEL) -d $(@D)/selection.direction.safetensors --validation $(@D)/validation.json \
	  --test $(@D)/test.json $($*_READ) --kl $(KL) --random $(RANDOM) --shuffled $(SHUFFLED) --doses "$(DOSES)" \
	  --seed $(SEED) -o $@ --plots $(@D)/plots --force > $(@D)/sweep.txt

$(OUT)/steering.txt: $(SWEEPS)
	$(CIRCUIT) steer table $(foreach name,$(CONCEPTS),$(name)=$(OUT)/$(name)/sweep.json) --plots $(OUT)/steering --force > $@

found: $(OUT)/steering.txt
	@cat $<
	@echo
	@echo "Each in full: $(OUT)/<name>/sweep.txt; the picture: $(OUT)/steering/steering.png"
	@echo "Is every file as its manifest says: circuit verify $(OUT)/<name>/sweep.json"
