from llmbuilder.inference import OutputFilter

filter_config = {
    "min_length": 20,
    "max_repetition": 0.3,
    "profanity_filter": True,
    "coherence_threshold": 0.7,
    "factuality_check": True
}

filtered_response = OutputFilter.filter(response, filter_config)
