"""The data room: personal data, in the formats people have, becomes a list of `Sample(prompt, response)`.

`read_samples` reads files, folders and Hugging Face datasets; `mix` builds data of a known similarity;
`split_samples` parts training from validation data; `sample_person` checks the name of one that comes with the package.
Knows files and rows; never sees a model or a tokenizer.
"""

from xpert.data.mixing import mix
from xpert.data.people import sample_person
from xpert.data.readers import FORMATS, read_samples
from xpert.data.rows import join_context
from xpert.data.splitting import split_samples

__all__ = ["FORMATS", "join_context", "mix", "read_samples", "sample_person", "split_samples"]
