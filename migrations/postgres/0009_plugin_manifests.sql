-- What a plugin's component says about itself, as JSON; nothing for components without a manifest.

ALTER TABLE plugins ADD COLUMN manifest TEXT;
