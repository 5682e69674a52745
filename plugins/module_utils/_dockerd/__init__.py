# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core of hardened.docker: pure Python 3.8+, no Ansible import.

This package is private to the collection and may change without notice.
"""

from __future__ import annotations

VERSION = "0.1.0"
