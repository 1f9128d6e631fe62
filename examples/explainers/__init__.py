"""One pipeline for each of alibi's explainers that does without TensorFlow, and CounterfactualProto.

Train and save all of them, or those you name, and serve them beside the models they call:

    cd examples
    python -m explainers                 # or: python -m explainers ale kernel_shap
    mlserver start explainers/artifacts

Ask one, in another terminal:

    curl -s http://127.0.0.1:8080/v2/models/iris-kernel-shap/infer \\
      -H 'content-type: application/json' \\
      -d '{"inputs": [{"name": "rows", "shape": [1, 4], "datatype": "FP64",
                       "data": [5.1, 3.5, 1.4, 0.2]}],
           "parameters": {"parameters": {"nsamples": 8}}}'

`parameters` are those of alibi's `explain`. Each module says what its explainer is for, and what its
author has to know. They need `pip install 'alibi[shap]'` for KernelShap and TreeShap, and
`alibi[tensorflow]` for CounterfactualProto; the rest need alibi alone. docs/explainers.md compares them.

The models are children: each is a model of the server, as each artifact's model-settings.json says, and
they stay out of the explainers' files. TreeShap alone reads the model itself.
"""
