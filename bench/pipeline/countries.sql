select country, count(*) as customers, sum(revenue) as revenue
from gold.customer_value
group by country
