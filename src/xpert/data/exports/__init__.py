"""What programs export: the files of messengers, mail programs and chatbots become conversations.

`read_export` reads one file, `read_export_folder` an unpacked export; both give None for what is no export of a
program that they know. One module a program; none of them opens anything but the files of the export.
"""

from xpert.data.exports.authors import Export
from xpert.data.exports.opening import read_export, read_export_folder

__all__ = ["Export", "read_export", "read_export_folder"]
